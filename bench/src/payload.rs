//! What the load publishes: JSON of a fixed size that says who sent it, the how many-th it is, and when it was due.

/// How every payload begins; no other field of any server's messages does.
pub const START: &[u8] = br#"{"s":"#;

/// The marks of one payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its sender.
    pub sender: u32,
    /// Counted from 0 for each sender.
    pub number: u32,
    /// When it was due, in nanoseconds of the load's clock.
    pub due_ns: u64,
}

impl Mark {
    /// Writes the payload, filled up to `bytes` (at least 70).
    pub fn write(self, bytes: usize, into: &mut Vec<u8>) {
        use std::io::Write as _;
        let start = into.len();
        let Mark {
            sender,
            number,
            due_ns,
        } = self;
        // Writing to memory cannot fail.
        let _ = write!(into, r#"{{"s":{sender},"n":{number},"t":{due_ns},"p":""#);
        let end = start + bytes.max(70) - 2;
        into.resize(end.max(into.len()), b'x');
        into.extend_from_slice(b"\"}");
    }

    /// Reads the marks of a payload that begins `text`.
    pub fn read(text: &[u8]) -> Option<Mark> {
        let (sender, text) = number(text.strip_prefix(START)?)?;
        let (count, text) = number(text.strip_prefix(br#","n":"#)?)?;
        let (due_ns, _) = number(text.strip_prefix(br#","t":"#)?)?;
        Some(Mark {
            sender: u32::try_from(sender).ok()?,
            number: u32::try_from(count).ok()?,
            due_ns,
        })
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 19 {
        return None;
    }
    let (digits, rest) = text.split_at(digits);
    let value = digits.iter().fold(0_u64, |value, digit| {
        value.wrapping_mul(10) + u64::from(digit - b'0')
    });
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_is_json_and_is_read_back() {
        let mark = Mark {
            sender: 7,
            number: 4_000_000_000,
            due_ns: 123_456_789_012,
        };
        let mut payload = Vec::new();
        mark.write(200, &mut payload);
        assert_eq!(payload.len(), 200);
        assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
        assert_eq!(Mark::read(&payload), Some(mark));
        assert_eq!(Mark::read(&payload[1..]), None);
        assert_eq!(Mark::read(&payload[..12]), None);
    }
}
