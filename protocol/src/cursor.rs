//! Cursors: a place in one channel as a short string that sorts, and that nobody can make up.
//!
//! A channel cursor is 25 characters: `1` (the form's version) and 18 bytes in a base64 whose
//! alphabet is in ASCII order: generation u16, partition u16, next u64 (all big-endian), then 48
//! bits of SipHash-2-4 over those twelve bytes and the channel's name. Because position comes first
//! and the alphabet is ordered, cursors of one channel sort as its events do.
//!
//! A stream cursor names places in several channels: `s`, 8 characters of seal over the rest, then
//! per channel a 4-character tag and its channel cursor, joined by dots. The seal is what tells a
//! damaged tag from a channel that was added since: without it damage would silently start that
//! channel at `latest`.

use std::hash::Hasher as _;

use schemas::Channel;
use siphasher::sip::SipHasher24;

const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
const CURSOR_LEN: usize = 25;
const TAG_LEN: usize = 4;
const SEAL_LEN: usize = 8;
const ENTRY_LEN: usize = TAG_LEN + CURSOR_LEN;
/// Longest stream cursor that is looked at.
const STREAM_LEN_MAX: usize = 4_096;

/// The next offset to read in the partition where a channel lives.
///
/// The cursor of the event at offset `o` has `next` = `o` + 1: it names what has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// How many times the topic was made anew; 0 is the first.
    pub generation: u16,
    /// The partition, 0 to 65 535.
    pub partition: i32,
    /// The next offset to read, never negative.
    pub next: i64,
}

/// A string that is no cursor, is damaged, is somebody else's, or belongs to another channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this channel")]
pub struct CursorInvalid;

impl From<CursorInvalid> for crate::ProtocolError {
    fn from(_: CursorInvalid) -> Self {
        crate::ProtocolError::cursor()
    }
}

/// Makes and reads cursors under one key. All nodes of an installation share the key.
#[derive(Clone)]
pub struct Cursors {
    hasher: SipHasher24,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors(..)")
    }
}

impl Cursors {
    /// Cursors under `key`.
    pub fn new(key: [u8; 16]) -> Self {
        Cursors {
            hasher: SipHasher24::new_with_key(&key),
        }
    }

    /// The cursor of `position` in `channel`: 25 characters of `[0-9A-Za-z_-]`.
    pub fn encode(&self, channel: &Channel, position: Position) -> String {
        let mut out = Vec::with_capacity(CURSOR_LEN);
        self.put_cursor(&mut out, channel, position);
        into_string(out)
    }

    /// The position `text` names in `channel`. Takes a channel cursor, or a stream cursor that
    /// names this channel among others.
    ///
    /// # Errors
    /// [`CursorInvalid`] for everything this installation did not make for this channel.
    pub fn decode(&self, channel: &Channel, text: &str) -> Result<Position, CursorInvalid> {
        if text.starts_with('s') {
            let found = self.decode_stream(std::slice::from_ref(channel), text)?;
            return found.into_iter().next().flatten().ok_or(CursorInvalid);
        }
        self.read_cursor(channel, text.as_bytes())
    }

    /// The cursor of a stream: with one channel that channel's own cursor, with none an empty one
    /// that names nothing. At most 1 929 characters for 64 channels.
    pub fn encode_stream(&self, entries: &[(Channel, Position)]) -> String {
        if let [(channel, position)] = entries {
            return self.encode(channel, *position);
        }
        let mut out = Vec::with_capacity(1 + SEAL_LEN + entries.len() * (ENTRY_LEN + 1));
        out.extend_from_slice(b"s--------");
        for (i, (channel, position)) in entries.iter().enumerate() {
            if i > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(&self.tag(channel));
            self.put_cursor(&mut out, channel, *position);
        }
        let seal = self.seal(&out[1 + SEAL_LEN..]);
        out[1..1 + SEAL_LEN].copy_from_slice(&seal);
        into_string(out)
    }

    /// The positions `text` names, in the order of `channels`; `None` where it does not name one.
    /// Takes a stream cursor, or the cursor of one of the channels.
    ///
    /// # Errors
    /// [`CursorInvalid`] when it is damaged or names none of `channels`.
    pub fn decode_stream(
        &self,
        channels: &[Channel],
        text: &str,
    ) -> Result<Vec<Option<Position>>, CursorInvalid> {
        let text = text.as_bytes();
        let found: Vec<Option<Position>> = if text.first() == Some(&b's') {
            let body = self.sealed_body(text)?;
            channels.iter().map(|c| self.find(c, body)).collect()
        } else {
            channels
                .iter()
                .map(|c| self.read_cursor(c, text).ok())
                .collect()
        };
        if found.iter().all(Option::is_none) {
            return Err(CursorInvalid);
        }
        Ok(found)
    }

    fn sealed_body<'t>(&self, text: &'t [u8]) -> Result<&'t [u8], CursorInvalid> {
        if text.len() > STREAM_LEN_MAX || text.len() < 1 + SEAL_LEN {
            return Err(CursorInvalid);
        }
        let (seal, body) = text[1..].split_at(SEAL_LEN);
        if self.seal(body) != *seal {
            return Err(CursorInvalid);
        }
        Ok(body)
    }

    /// Two channels may share a tag; the MAC of the cursor behind it decides.
    fn find(&self, channel: &Channel, body: &[u8]) -> Option<Position> {
        let tag = self.tag(channel);
        body.split(|&b| b == b'.')
            .filter_map(|entry| entry.strip_prefix(&tag[..]))
            .find_map(|cursor| self.read_cursor(channel, cursor).ok())
    }

    fn put_cursor(&self, out: &mut Vec<u8>, channel: &Channel, position: Position) {
        debug_assert!(position.next >= 0 && (0..=65_535).contains(&position.partition));
        let mut raw = [0u8; 18];
        raw[..2].copy_from_slice(&position.generation.to_be_bytes());
        raw[2..4].copy_from_slice(&(position.partition as u16).to_be_bytes());
        raw[4..12].copy_from_slice(&(position.next as u64).to_be_bytes());
        let mac = self.mac(channel, &raw[..12]);
        raw[12..].copy_from_slice(&mac);
        out.push(b'1');
        for group in raw.chunks_exact(3) {
            let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            out.extend_from_slice(&spell(bits));
        }
    }

    fn read_cursor(&self, channel: &Channel, text: &[u8]) -> Result<Position, CursorInvalid> {
        let Some((b'1', digits)) = text.split_first() else {
            return Err(CursorInvalid);
        };
        if digits.len() != CURSOR_LEN - 1 {
            return Err(CursorInvalid);
        }
        let mut raw = [0u8; 18];
        for (group, out) in digits.chunks_exact(4).zip(raw.chunks_exact_mut(3)) {
            let mut bits = 0u32;
            for &digit in group {
                bits = bits << 6 | u32::from(value_of(digit).ok_or(CursorInvalid)?);
            }
            out.copy_from_slice(&bits.to_be_bytes()[1..]);
        }
        let (place, mac) = raw.split_at(12);
        if self.mac(channel, place) != *mac {
            return Err(CursorInvalid);
        }
        let generation = u16::from_be_bytes([place[0], place[1]]);
        let partition = u16::from_be_bytes([place[2], place[3]]);
        let mut next = [0u8; 8];
        next.copy_from_slice(&place[4..12]);
        Ok(Position {
            generation,
            partition: i32::from(partition),
            next: i64::try_from(u64::from_be_bytes(next)).map_err(|_| CursorInvalid)?,
        })
    }

    /// The first byte of what is hashed says what for, so that a MAC never serves as a tag or seal.
    fn mac(&self, channel: &Channel, place: &[u8]) -> [u8; 6] {
        let mut hasher = self.hasher;
        hasher.write(b"c");
        hasher.write(place);
        hasher.write(channel.as_str().as_bytes());
        first_six(hasher.finish())
    }

    fn tag(&self, channel: &Channel) -> [u8; TAG_LEN] {
        let mut hasher = self.hasher;
        hasher.write(b"t");
        hasher.write(channel.as_str().as_bytes());
        spell((hasher.finish() >> 40) as u32)
    }

    fn seal(&self, body: &[u8]) -> [u8; SEAL_LEN] {
        let mut hasher = self.hasher;
        hasher.write(b"s");
        hasher.write(body);
        let hash = hasher.finish() >> 16;
        let mut out = [0u8; SEAL_LEN];
        out[..4].copy_from_slice(&spell((hash >> 24) as u32 & 0xff_ffff));
        out[4..].copy_from_slice(&spell(hash as u32 & 0xff_ffff));
        out
    }
}

fn first_six(hash: u64) -> [u8; 6] {
    let bytes = hash.to_be_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]
}

/// 24 bits as four digits.
fn spell(bits: u32) -> [u8; 4] {
    [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
}

/// The inverse of [`ALPHABET`].
fn value_of(digit: u8) -> Option<u8> {
    Some(match digit {
        b'-' => 0,
        b'0'..=b'9' => digit - b'0' + 1,
        b'A'..=b'Z' => digit - b'A' + 11,
        b'_' => 37,
        b'a'..=b'z' => digit - b'a' + 38,
        _ => return None,
    })
}

fn into_string(ascii: Vec<u8>) -> String {
    String::from_utf8(ascii).expect("the alphabet, tags and separators are ASCII")
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
