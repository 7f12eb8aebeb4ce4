//! Strings: finding their end, checking their escapes, unescaping them.

use std::borrow::Cow;
use std::ops::{Deref, Range};

use super::{Fault, FaultAt};

/// A string of the text, unescaped; borrowed when it had no escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'t>(Cow<'t, str>);

impl<'t> Text<'t> {
    /// `inner` is what stands between the quotes, checked by [`string`].
    pub(super) fn new(text: &'t str, inner: Range<usize>, escaped: bool) -> Text<'t> {
        let raw = &text[inner];
        Text(if escaped {
            Cow::Owned(unescape(raw.as_bytes()))
        } else {
            Cow::Borrowed(raw)
        })
    }

    /// The unescaped string.
    pub(crate) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Checks the string whose opening quote stands at `start`; gives the position after its closing
/// quote, and whether it has escapes. The text is UTF-8.
pub(super) fn string(text: &[u8], start: usize) -> Result<(usize, bool), FaultAt> {
    let mut pos = start + 1;
    let mut escaped = false;
    loop {
        pos = plain(text, pos);
        match text.get(pos) {
            Some(b'"') => return Ok((pos + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                pos = escape(text, pos)?;
            }
            Some(0) => {
                return Err(FaultAt {
                    fault: Fault::Nul,
                    offset: pos,
                });
            }
            _ => {
                return Err(FaultAt {
                    fault: Fault::Syntax,
                    offset: pos,
                });
            }
        }
    }
}

/// The position from `pos` on of the next byte that stands in no JSON string as it is: a quote, a
/// backslash or a control byte; the end when there is none. Eight bytes at a time: strings are most
/// of what we read and write.
pub fn plain(text: &[u8], mut pos: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = text.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        // A byte's high bit is set where the byte is zero (quote, slash) or below 0x20 (word);
        // borrows can only set bits above the first true hit, so the lowest hit is exact.
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGHS;
        if hits != 0 {
            return pos + hits.trailing_zeros() as usize / 8;
        }
        pos += 8;
    }
    while text
        .get(pos)
        .is_some_and(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f))
    {
        pos += 1;
    }
    pos
}

/// Checks the escape whose backslash stands at `pos`; gives the position after it.
fn escape(text: &[u8], pos: usize) -> Result<usize, FaultAt> {
    let syntax = FaultAt {
        fault: Fault::Syntax,
        offset: pos,
    };
    match text.get(pos + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(pos + 2),
        Some(b'u') => match hex4(text, pos + 2).ok_or(syntax)? {
            0 => Err(FaultAt {
                fault: Fault::Nul,
                offset: pos,
            }),
            0xd800..=0xdbff => match low_half(text, pos + 6) {
                Some(_) => Ok(pos + 12),
                None => Err(FaultAt {
                    fault: Fault::LoneSurrogate,
                    offset: pos,
                }),
            },
            0xdc00..=0xdfff => Err(FaultAt {
                fault: Fault::LoneSurrogate,
                offset: pos,
            }),
            _ => Ok(pos + 6),
        },
        _ => Err(syntax),
    }
}

/// The second half of a surrogate pair, escaped at `pos`.
fn low_half(text: &[u8], pos: usize) -> Option<u32> {
    if text.get(pos..pos + 2)? != b"\\u" {
        return None;
    }
    hex4(text, pos + 2).filter(|low| (0xdc00..=0xdfff).contains(low))
}

fn hex4(text: &[u8], pos: usize) -> Option<u32> {
    text.get(pos..pos + 4)?.iter().try_fold(0, |value, b| {
        Some(value * 16 + char::from(*b).to_digit(16)?)
    })
}

/// Unescapes what [`string`] has checked.
pub(super) fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut pos = 0;
    while let Some(&byte) = raw.get(pos) {
        if byte != b'\\' {
            out.push(byte);
            pos += 1;
            continue;
        }
        let short = match raw.get(pos + 1) {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let mut code = hex4(raw, pos + 2).unwrap_or(0xfffd);
                pos += 6;
                if (0xd800..=0xdbff).contains(&code)
                    && let Some(low) = low_half(raw, pos)
                {
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    pos += 6;
                }
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other.copied().unwrap_or(b'\\'),
        };
        out.push(short);
        pos += 2;
    }
    // UTF-8 in, whole characters added: this cannot lose anything.
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_at_a_time_finds_what_one_at_a_time_finds() {
        for special in 0..=255u8 {
            for at in 0..20 {
                let mut text = [b'x'; 20].to_vec();
                text[at] = special;
                let slow = text
                    .iter()
                    .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))
                    .unwrap_or(text.len());
                assert_eq!(plain(&text, 0), slow, "byte {special} at {at}");
            }
        }
    }
}
