//! A client's message in one pass: checked, and its members shown as they are met.

use std::borrow::Cow;

use super::{Compact, DATA_DEPTH_MAX, ENVELOPE_DEPTH_MAX, FaultAt, Scanner};

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the message itself.
    Top,
    /// In its member `params`.
    Params,
}

/// The value of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member<'t> {
    /// Of `data`: its JSON without blanks outside strings, as [`super::compact`] gives it.
    Data(Cow<'t, [u8]>),
    /// Of any other: its JSON as it was written.
    Other(&'t str),
}

/// Checks a whole client message: depth 8, except that a member `data` at the top or in `params`
/// has depth 32 of its own. Shows each member, by its unescaped name; `params` after what is in it.
/// What was shown before a fault counts for nothing. Says whether the message is an object.
pub fn read_envelope<'t>(
    text: &'t [u8],
    mut see: impl FnMut(Place, &str, Member<'t>),
) -> Result<bool, FaultAt> {
    let mut scanner = Scanner::new(text)?;
    if !scanner.at_object() {
        scanner.value(ENVELOPE_DEPTH_MAX)?;
        scanner.finish()?;
        return Ok(false);
    }
    scanner.open();
    while let Some(key) = scanner.next_key()? {
        let value = if &*key == "params" && scanner.at_object() {
            let start = scanner.position();
            scanner.open();
            while let Some(key) = scanner.next_key()? {
                let value = member(&mut scanner, &key, ENVELOPE_DEPTH_MAX - 2)?;
                see(Place::Params, &key, value);
            }
            Member::Other(scanner.slice(start..scanner.position()))
        } else {
            member(&mut scanner, &key, ENVELOPE_DEPTH_MAX - 1)?
        };
        see(Place::Top, &key, value);
    }
    scanner.finish()?;
    Ok(true)
}

fn member<'t>(
    scanner: &mut Scanner<'t>,
    key: &str,
    depth_max: usize,
) -> Result<Member<'t>, FaultAt> {
    if key != "data" {
        let range = scanner.value(depth_max)?;
        return Ok(Member::Other(scanner.slice(range)));
    }
    Ok(Member::Data(match scanner.compact(DATA_DEPTH_MAX)? {
        Compact::Same(range) => Cow::Borrowed(scanner.slice(range).as_bytes()),
        Compact::Squeezed(bytes) => Cow::Owned(bytes),
    }))
}
