//! The JSON rules of protocol section 9: what we take must be storable and forwardable everywhere.

use std::fmt;

mod envelope;
mod keys;
mod number;
mod scan;
mod text;

pub use envelope::{Member, Place, read_envelope};
pub(crate) use scan::{Compact, Scanner};
pub(crate) use text::Text;
pub use text::plain;

/// How deep `data` may be; `data` itself is depth 1.
pub const DATA_DEPTH_MAX: usize = 32;
/// How deep everything around `data` may be.
pub const ENVELOPE_DEPTH_MAX: usize = 8;

/// What may be configured of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Most objects and lists inside one another; the outermost is 1.
    pub depth_max: usize,
}

impl Rules {
    /// The rules of `data`: depth 32.
    pub const DATA: Rules = Rules {
        depth_max: DATA_DEPTH_MAX,
    };
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::DATA
    }
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Not JSON (RFC 8259).
    Syntax,
    /// Nested too deep.
    Depth,
    /// A key twice in one object, compared after unescaping.
    DuplicateKey,
    /// U+0000 in a string, escaped or not.
    Nul,
    /// An escaped half of a surrogate pair.
    LoneSurrogate,
    /// More than 64 digits, or an exponent beyond ±308.
    Number,
    /// Not UTF-8.
    Utf8,
    /// Something after the value.
    Trailing,
}

/// A fault and where it is. The caller refuses the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct FaultAt {
    /// What is wrong.
    pub fault: Fault,
    /// Byte offset in the text handed in.
    pub offset: usize,
}

impl Fault {
    /// A stable word for it, `duplicate_key` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Syntax => "syntax",
            Fault::Depth => "depth",
            Fault::DuplicateKey => "duplicate_key",
            Fault::Nul => "nul",
            Fault::LoneSurrogate => "lone_surrogate",
            Fault::Number => "number",
            Fault::Utf8 => "utf8",
            Fault::Trailing => "trailing",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Syntax => "not valid JSON",
            Fault::Depth => "nested too deep",
            Fault::DuplicateKey => "a key occurs twice in one object",
            Fault::Nul => "U+0000 is not allowed",
            Fault::LoneSurrogate => "half a surrogate pair",
            Fault::Number => "a number has more than 64 digits or an exponent beyond 308",
            Fault::Utf8 => "not valid UTF-8",
            Fault::Trailing => "something follows the JSON value",
        })
    }
}

/// Checks one JSON value against all rules and gives it back without blanks outside strings. Key
/// order, number spelling and string escapes stay as they are.
pub fn compact(text: &[u8], rules: Rules) -> Result<Vec<u8>, FaultAt> {
    let mut scanner = Scanner::new(text)?;
    let compact = scanner.compact(rules.depth_max)?;
    scanner.finish()?;
    Ok(match compact {
        Compact::Same(range) => text[range].to_vec(),
        Compact::Squeezed(bytes) => bytes,
    })
}

/// Checks one JSON value against all rules.
pub fn check(text: &[u8], rules: Rules) -> Result<(), FaultAt> {
    let mut scanner = Scanner::new(text)?;
    scanner.value(rules.depth_max)?;
    scanner.finish()
}

#[cfg(test)]
mod tests;
