//! Writing a JSON object into one buffer, member by member, in the order it is said.

use schemas::json::plain;
use serde_json::Value;

/// An object being written. Keys are ours and need no escaping.
pub(super) struct Object {
    out: Vec<u8>,
}

impl Object {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.push(b'{');
        Object { out }
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        quote(&mut self.out, value);
    }

    pub(super) fn maybe_text(&mut self, key: &'static str, value: Option<&str>) {
        self.key(key);
        match value {
            Some(text) => quote(&mut self.out, text),
            None => self.out.extend_from_slice(b"null"),
        }
    }

    pub(super) fn number(&mut self, key: &'static str, value: i64) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// `value` is JSON text.
    pub(super) fn raw(&mut self, key: &'static str, value: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(value);
    }

    pub(super) fn value(&mut self, key: &'static str, value: &Value) {
        let text = value.to_string();
        self.raw(key, text.as_bytes());
    }

    /// Each item is JSON text.
    pub(super) fn list<E: AsRef<[u8]>>(&mut self, key: &'static str, items: &[E]) {
        self.key(key);
        self.out.push(b'[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(item.as_ref());
        }
        self.out.push(b']');
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    fn key(&mut self, key: &'static str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// How many digits `n` has.
pub(super) fn digits(n: u64) -> usize {
    n.checked_ilog10().unwrap_or(0) as usize + 1
}

/// A JSON string. Only what must be escaped is: the same text gives the same bytes everywhere.
fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let to = plain(bytes, from);
        out.extend_from_slice(&bytes[from..to]);
        let Some(&special) = bytes.get(to) else {
            break;
        };
        escape(out, special);
        from = to + 1;
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_from_a_json_reader(text in any::<String>()) {
            let mut out = Vec::new();
            quote(&mut out, &text);
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(back, text);
            prop_assert!(out.iter().all(|b| *b >= 0x20));
        }
    }
}
