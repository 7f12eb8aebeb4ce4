//! Where a server is: one base URL that serves WebSocket and HTTP alike.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use crate::error::Error;

/// A server's base URL. `http` and `ws` mean the same, and so do `https` and `wss`.
///
/// Shape: `https://realtime.example.org`, `ws://127.0.0.1:8080/base`; no query, no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    secure: bool,
    authority: String,
    base: String,
}

impl Endpoint {
    /// Reads a base URL; [`Error::Invalid`] says what is wrong with it.
    pub fn parse(url: &str) -> Result<Endpoint, Error> {
        let wrong =
            |what: &str| Error::Invalid(format!("`{url}` is not a server's base URL: {what}"));
        let uri: Uri = url.parse().map_err(|_| wrong("it cannot be read"))?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong("it must begin with http, https, ws or wss")),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| wrong("it names no host"))?
            .as_str();
        if authority.contains('@') {
            return Err(wrong("credentials do not belong into it"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Endpoint {
            secure,
            authority: authority.to_owned(),
            base,
        })
    }

    /// The WebSocket URL of a path, for example `ws_url("/ws")`.
    pub fn ws_url(&self, path: &str) -> String {
        self.url(if self.secure { "wss" } else { "ws" }, path)
    }

    /// The HTTP URL of a path.
    pub fn http_url(&self, path: &str) -> String {
        self.url(if self.secure { "https" } else { "http" }, path)
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{}{path}", self.authority, self.base)
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(url: &str) -> Result<Endpoint, Error> {
        Endpoint::parse(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.http_url(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_url_serves_both_protocols() {
        for (given, ws, http) in [
            ("http://h:1", "ws://h:1/ws", "http://h:1/ws"),
            ("ws://h:1/", "ws://h:1/ws", "http://h:1/ws"),
            ("https://h/base/", "wss://h/base/ws", "https://h/base/ws"),
            ("wss://[::1]:9", "wss://[::1]:9/ws", "https://[::1]:9/ws"),
        ] {
            let endpoint = Endpoint::parse(given).unwrap();
            assert_eq!(
                (
                    endpoint.ws_url("/ws").as_str(),
                    endpoint.http_url("/ws").as_str()
                ),
                (ws, http)
            );
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_a_reason() {
        for given in [
            "",
            "h:1",
            "ftp://h",
            "http://",
            "http://u:p@h",
            "http://h?x=1",
            "/ws",
        ] {
            assert!(
                matches!(Endpoint::parse(given), Err(Error::Invalid(_))),
                "{given}"
            );
        }
    }
}
