//! Numbers: JSON's grammar, and no number that some reader cannot hold.
//!
//! At most 64 digits before the exponent, and the exponent at most 308 either way: as written, and
//! as it is with one digit before the point. The second bar is what stops `10e308` and
//! `0.00…1e-308`, which as doubles are infinite and zero.

use super::{Fault, FaultAt};

const DIGITS_MAX: usize = 64;
const EXPONENT_MAX: i64 = 308;

/// Checks the number that begins at `start`; gives the position after it.
pub(super) fn number(text: &[u8], start: usize) -> Result<usize, FaultAt> {
    let syntax = |offset| FaultAt {
        fault: Fault::Syntax,
        offset,
    };
    let mut pos = start;
    if text.get(pos) == Some(&b'-') {
        pos += 1;
    }

    let whole = digits(text, pos);
    let whole_len = whole.len();
    if whole_len == 0 || (whole_len > 1 && whole[0] == b'0') {
        return Err(syntax(pos));
    }
    pos += whole_len;

    let mut part: &[u8] = &[];
    if text.get(pos) == Some(&b'.') {
        part = digits(text, pos + 1);
        if part.is_empty() {
            return Err(syntax(pos));
        }
        pos += 1 + part.len();
    }

    let mut exponent = 0i64;
    let mut exponent_len = 0;
    if matches!(text.get(pos), Some(b'e' | b'E')) {
        let sign = text.get(pos + 1);
        let from = pos + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let power = digits(text, from);
        if power.is_empty() {
            return Err(syntax(pos));
        }
        exponent_len = power.len();
        exponent = power.iter().fold(0i64, |value, b| {
            value.saturating_mul(10).saturating_add(i64::from(b - b'0'))
        });
        if sign == Some(&b'-') {
            exponent = -exponent;
        }
        pos = from + exponent_len;
    }

    let too_long = whole_len + part.len() > DIGITS_MAX || exponent_len > DIGITS_MAX;
    // Without an exponent, as few digits as are allowed reach nowhere near the bounds.
    let too_far =
        exponent != 0 && (exponent.abs() > EXPONENT_MAX || out_of_reach(whole, part, exponent));
    if too_long || too_far {
        return Err(FaultAt {
            fault: Fault::Number,
            offset: start,
        });
    }
    Ok(pos)
}

/// Whether the exponent is out of bounds once the point stands after the first digit that counts.
fn out_of_reach(whole: &[u8], part: &[u8], exponent: i64) -> bool {
    let leading_zeros = whole.iter().chain(part).take_while(|b| **b == b'0').count();
    if leading_zeros == whole.len() + part.len() {
        return false;
    }
    let shift = whole.len() as i64 - 1 - leading_zeros as i64;
    (exponent + shift).abs() > EXPONENT_MAX
}

fn digits(text: &[u8], from: usize) -> &[u8] {
    let mut to = from;
    while text.get(to).is_some_and(u8::is_ascii_digit) {
        to += 1;
    }
    text.get(from..to).unwrap_or_default()
}
