//! JSON text without the blanks outside its strings.

/// The text with blanks outside strings removed; everything else stays as it is.
pub fn compact(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    text.chars()
        .filter(|letter| {
            if inside {
                inside = escaped || *letter != '"';
                escaped = !escaped && *letter == '\\';
                return true;
            }
            inside = *letter == '"';
            !matches!(letter, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_go_outside_strings_only() {
        let text = "{ \"a b\" : [ 1.0 , \"x \\\" \\\\\" , \"y\" ] }\n";
        assert_eq!(compact(text), "{\"a b\":[1.0,\"x \\\" \\\\\",\"y\"]}");
    }
}
