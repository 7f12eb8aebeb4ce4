//! Which web pages may talk to us (`Origin`), and the headers that tell browsers so.
//!
//! Written for every service with client routes; ingest's owner keeps this file, the rest of the crate has
//! another. Fanout uses the same three steps: [`Origins::check`] before anything else, [`preflight`] for
//! `OPTIONS`, [`Origin::mark`] on every answer.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// The request headers a page may set.
pub const HEADERS_ALLOWED: &str = "authorization, content-type, idempotency-key, last-event-id";

/// The origins that are let in, each exactly `scheme://host[:port]` as browsers write it.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeSet<String>);

/// What a request's `Origin` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There is none: no browser page, or one of our own origin.
    Absent,
    /// On the list.
    Allowed(HeaderValue),
    /// Not on the list, `null`, or more than one: answer 403 `PERMISSION_DENIED`.
    Refused,
}

impl Origins {
    /// A list from configured entries; each may hold several, separated by commas or blanks.
    ///
    /// # Errors
    /// The entry that is no origin, with a sentence. A browser never sends a path, a user, upper case or a
    /// default port, so an entry with one would silently never match.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Origins, String> {
        let mut list = BTreeSet::new();
        for entry in entries
            .into_iter()
            .flat_map(|text| text.split([',', ' ']))
            .filter(|entry| !entry.is_empty())
        {
            list.insert(normal(entry)?);
        }
        Ok(Origins(list))
    }

    /// Judges the `Origin` of a request. Exact comparison of bytes: no prefixes, no wildcards.
    #[must_use]
    pub fn check(&self, headers: &HeaderMap) -> Origin {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Origin::Absent;
        };
        if origins.next().is_some() {
            return Origin::Refused;
        }
        match origin.to_str() {
            Ok(text) if self.0.contains(text) => Origin::Allowed(origin.clone()),
            _ => Origin::Refused,
        }
    }
}

impl Origin {
    /// Puts the origin headers on an answer. `Vary` is there for every request, so that no cache mixes
    /// answers for one origin with those for another.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Origin::Allowed(origin) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("retry-after"),
            );
        }
    }
}

/// The answer to `OPTIONS` from an allowed origin (or from nobody's page): 204 and what may be asked.
#[must_use]
pub fn preflight(origin: &Origin) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(HEADERS_ALLOWED),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, OPTIONS"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    origin.mark(headers);
    response
}

fn normal(entry: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("{entry:?} is no origin: {why}"));
    // `https://app.example/` is what people copy from an address bar.
    let entry = entry.strip_suffix('/').unwrap_or(entry);
    let Some((scheme, authority)) = entry.split_once("://") else {
        return bad("write scheme://host[:port]");
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return bad("the scheme is http or https"),
    };
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', '*', '\\', '%']) {
        return bad("only host and port follow the scheme");
    }
    if authority.parse::<http::uri::Authority>().is_err() {
        return bad("the host is malformed");
    }
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        Origins::new([
            "https://app.example, http://localhost:5173",
            "https://Other.example:443/",
        ])
        .unwrap()
    }

    fn asked(values: &[&str]) -> Origin {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ORIGIN, HeaderValue::from_str(value).unwrap());
        }
        origins().check(&headers)
    }

    #[test]
    fn only_listed_origins_pass_and_only_exactly() {
        for good in [
            "https://app.example",
            "http://localhost:5173",
            "https://other.example",
        ] {
            assert!(matches!(asked(&[good]), Origin::Allowed(_)), "{good}");
        }
        for bad in [
            "null",
            "",
            "http://app.example",
            "https://app.example:443",
            "https://app.example:8443",
            "https://app.example.evil",
            "https://evil-app.example",
            "https://sub.app.example",
            "https://APP.example",
            "https://app.example/",
            "https://app.example,https://evil.example",
            "https://user@app.example",
            "http://localhost",
            "http://localhost:51730",
            "app.example",
            "file://",
        ] {
            assert_eq!(asked(&[bad]), Origin::Refused, "{bad}");
        }
        assert_eq!(asked(&[]), Origin::Absent);
        let twice = ["https://app.example", "https://app.example"];
        assert_eq!(asked(&twice), Origin::Refused);
    }

    #[test]
    fn an_entry_that_could_never_match_is_refused_at_start() {
        for bad in [
            "*",
            "null",
            "app.example",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://u@a",
        ] {
            assert!(Origins::new([bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_preflight_names_the_origin_itself_and_what_may_be_sent() {
        let response = preflight(&asked(&["https://app.example"]));
        assert_eq!(response.status(), 204);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "https://app.example");
        assert_eq!(header("access-control-allow-credentials"), "true");
        assert_eq!(header("access-control-allow-headers"), HEADERS_ALLOWED);
        assert_eq!(header("vary"), "Origin");
        let nobody = preflight(&Origin::Absent);
        assert!(
            nobody
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
    }
}
