//! Query strings of GET requests.

use std::fmt::Write as _;

/// Collects `name=value` pairs; values are percent-encoded where they must be.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new() -> Query {
        Query::default()
    }

    pub(crate) fn add(mut self, name: &str, value: &str) -> Query {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z'
                | b'a'..=b'z'
                | b'0'..=b'9'
                | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'@'
                | b',' => {
                    self.0.push(char::from(byte));
                }
                _ => write!(self.0, "%{byte:02X}").expect("writing to a string cannot fail"),
            }
        }
        self
    }

    pub(crate) fn maybe(self, name: &str, value: Option<impl AsRef<str>>) -> Query {
        match value {
            Some(value) => self.add(name, value.as_ref()),
            None => self,
        }
    }

    pub(crate) fn all<'a>(self, name: &str, values: impl IntoIterator<Item = &'a String>) -> Query {
        values
            .into_iter()
            .fold(self, |query, value| query.add(name, value))
    }

    /// The path with the query behind it.
    pub(crate) fn on(self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_is_encoded() {
        let query = Query::new()
            .add("channel", "session.a:b@c")
            .add("since", "a b&c=ä")
            .maybe("x", None::<&str>);
        assert_eq!(
            query.on("/p"),
            "/p?channel=session.a:b@c&since=a%20b%26c%3D%C3%A4"
        );
    }
}
