//! WebSocket (RFC 6455) as cheap as a load generator and a reference server need it: what a client reads is not copied.

/// What a server may send in one frame at most before it counts as broken.
const FRAME_MAX: u64 = 64 << 20;

/// The request that asks for a WebSocket; `headers` are whole lines ending in `\r\n`.
pub fn upgrade(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// What a server answers to [`upgrade`].
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// More bytes are needed.
    Unfinished,
    /// The connection is a WebSocket; its frames start after so many bytes.
    Accepted(usize),
    /// The first line of something else.
    Refused(String),
}

/// Reads the answer at the beginning of `bytes`.
pub fn answer(bytes: &[u8]) -> Answer {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Answer::Unfinished;
    };
    if bytes.starts_with(b"HTTP/1.1 101") {
        return Answer::Accepted(end + 4);
    }
    let line = bytes
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    Answer::Refused(String::from_utf8_lossy(line).into_owned())
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, binary, or a continuation of either.
    Data,
    /// Has to be answered with its own payload.
    Ping,
    /// Needs nothing.
    Pong,
    /// The end.
    Close,
}

/// One frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is for.
    pub kind: Kind,
    /// Its payload.
    pub payload: &'a [u8],
    /// The bytes it takes in the stream.
    pub length: usize,
}

/// The first frame of `bytes`: none while it is not complete, an error when it is nothing a server may send.
pub fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let kind = match first & 0x0f {
        0..=2 => Kind::Data,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        other => return Err(format!("a frame with opcode {other}")),
    };
    if second & MASKED != 0 {
        return Err("a masked frame of a server".to_owned());
    }
    let Some((length, head)) = length(*second, rest) else {
        return Ok(None);
    };
    if length > FRAME_MAX {
        return Err(format!("a frame of {length} bytes"));
    }
    let end = head + length as usize;
    Ok(bytes.get(head..end).map(|payload| Frame {
        kind,
        payload,
        length: end,
    }))
}

/// Opcode of a text frame.
pub const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub const BINARY: u8 = 2;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// Appends a frame as a client sends it. The mask is fixed: it protects proxies from hostile pages, of which there
/// are none here.
pub fn write(opcode: u8, payload: &[u8], into: &mut Vec<u8>) {
    const MASK: [u8; 4] = [0x1d, 0x5a, 0xc3, 0x77];
    head(opcode, MASKED, payload.len(), into);
    into.extend_from_slice(&MASK);
    into.extend(mask(payload, MASK));
}

/// Appends a text frame as a server sends it.
pub fn write_unmasked(payload: &[u8], into: &mut Vec<u8>) {
    head(TEXT, 0, payload.len(), into);
    into.extend_from_slice(payload);
}

/// A client's frame at the beginning of `bytes`: its opcode and the bytes it takes, its payload put into `payload`. None
/// while it is not complete.
pub fn unmask(bytes: &[u8], payload: &mut Vec<u8>) -> Option<(u8, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (length, head) = length(*second & !MASKED, rest)?;
    let start = head + 4;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let key = *bytes.get(head..)?.first_chunk::<4>()?;
    let masked = bytes.get(start..end)?;
    payload.clear();
    payload.extend(mask(masked, key));
    Some((first & 0x0f, end))
}

/// Set in the second byte of a frame that is masked.
const MASKED: u8 = 0x80;

fn mask(payload: &[u8], key: [u8; 4]) -> impl Iterator<Item = u8> {
    let key = key.into_iter().cycle();
    payload.iter().zip(key).map(|(byte, key)| byte ^ key)
}

/// The beginning of an unfragmented frame up to its length.
fn head(opcode: u8, masked: u8, length: usize, into: &mut Vec<u8>) {
    into.push(0x80 | opcode);
    match length {
        short @ 0..=125 => into.push(masked | short as u8),
        middle @ 126..=0xffff => {
            into.push(masked | 126);
            into.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            into.push(masked | 127);
            into.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
}

/// The length that `second` and what follows it say, and where it ends.
fn length(second: u8, rest: &[u8]) -> Option<(u64, usize)> {
    Some(match second {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(short), 2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_and_incomplete_ones_are_waited_for() {
        for size in [0_usize, 1, 125, 126, 65_535, 65_536, 100_000] {
            let mut bytes = Vec::new();
            write_unmasked(&vec![b'x'; size], &mut bytes);
            let read = frame(&bytes).unwrap().unwrap();
            assert_eq!((read.payload.len(), read.length), (size, bytes.len()));
            for cut in [0, 1, bytes.len() - 1] {
                assert_eq!(frame(&bytes[..cut]), Ok(None));
            }
        }
        assert!(frame(&[0x81, 0x80]).is_err());
    }

    #[test]
    fn what_we_write_is_masked_with_its_length_first() {
        let mut out = Vec::new();
        write(TEXT, b"hello", &mut out);
        assert_eq!(out[..2], [0x81, 0x85]);
        let mut plain = Vec::new();
        assert_eq!(unmask(&out, &mut plain), Some((TEXT, out.len())));
        assert_eq!(unmask(&out[..out.len() - 1], &mut Vec::new()), None);
        assert_eq!(plain, b"hello");
    }

    #[test]
    fn an_answer_is_told_from_a_refusal() {
        assert_eq!(answer(b"HTTP/1.1 101 Swi"), Answer::Unfinished);
        assert_eq!(answer(b"HTTP/1.1 101 X\r\n\r\nrest"), Answer::Accepted(18));
        assert_eq!(
            answer(b"HTTP/1.1 403 Forbidden\r\n\r\n"),
            Answer::Refused("HTTP/1.1 403 Forbidden".into())
        );
    }
}
