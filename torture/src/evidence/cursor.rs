//! A channel's cursor, read without the server's code and without its key.
//!
//! 25 characters: `1` and 24 digits of a base64 whose alphabet is in ASCII order, so the 18 bytes they stand for
//! sort as the text does, and each can be made from the other: nothing is lost by keeping the bytes.

use std::fmt;

const DIGITS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// A cursor of one channel. Ordered as its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor([u8; 18]);

impl Cursor {
    /// None for a text that is not a channel's cursor (a stream's, say).
    pub fn parse(text: &str) -> Option<Cursor> {
        let digits = text.as_bytes().strip_prefix(b"1")?;
        if digits.len() != 24 {
            return None;
        }
        let mut bytes = [0; 18];
        for (four, three) in digits.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
            let mut bits = 0u32;
            for digit in four {
                let value = DIGITS.binary_search(digit).ok()?;
                bits = (bits << 6) | u32::try_from(value).ok()?;
            }
            three.copy_from_slice(&bits.to_be_bytes()[1..]);
        }
        Some(Cursor(bytes))
    }

    /// How often its topic was made anew.
    pub fn generation(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        i32::from(u16::from_be_bytes([self.0[2], self.0[3]]))
    }

    /// The offset after the event it stands for.
    pub fn next(&self) -> i64 {
        let mut next = [0; 8];
        next.copy_from_slice(&self.0[4..12]);
        i64::from_be_bytes(next)
    }

    /// A cursor made up for a test of the judge: right in all but its seal.
    pub fn made_up(partition: u16, next: i64) -> Cursor {
        let mut bytes = [7; 18];
        bytes[..2].copy_from_slice(&[0, 0]);
        bytes[2..4].copy_from_slice(&partition.to_be_bytes());
        bytes[4..12].copy_from_slice(&next.to_be_bytes());
        Cursor(bytes)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1")?;
        for three in self.0.chunks_exact(3) {
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for shift in [18, 12, 6, 0] {
                write!(f, "{}", char::from(DIGITS[(bits >> shift & 63) as usize]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{self}", self.partition(), self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_and_its_text_are_one_and_sort_alike() {
        let mut last = String::new();
        for next in [0, 1, 63, 64, 65, 4_095, 1 << 40, i64::MAX] {
            let cursor = Cursor::made_up(3, next);
            let text = cursor.to_string();
            assert_eq!(text.len(), 25);
            assert_eq!(Cursor::parse(&text), Some(cursor));
            assert_eq!(
                (cursor.generation(), cursor.partition(), cursor.next()),
                (0, 3, next)
            );
            assert!(text > last, "{text} sorts after {last}");
            last = text;
        }
    }

    #[test]
    fn what_is_no_channel_cursor_is_none() {
        for text in [
            "",
            "1",
            "s--------",
            "2-----------------------",
            "1----------------------!!",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
