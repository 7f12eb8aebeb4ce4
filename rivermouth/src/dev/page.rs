//! The page of development mode: plain files, compiled in, and a token for whoever opens it.
//!
//! The token opens `session.demo` and nothing else. It is handed out without asking, which is fine only
//! because the listener of `dev` answers to this machine's own names (see `hosts_allowed`): no foreign page
//! can read it, not even one that points its own name here.

use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderName, HeaderValue, StatusCode, header};
use service::http::json;

use super::tokens::Tokens;

const FILES: [(&str, &str, &str); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../../../web/index.html"),
    ),
    (
        "/dev/style.css",
        "text/css; charset=utf-8",
        include_str!("../../../web/style.css"),
    ),
    (
        "/dev/page.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../web/page.js"),
    ),
    (
        "/dev/table.js",
        "text/javascript; charset=utf-8",
        include_str!("../../../web/table.js"),
    ),
];

/// Nothing from elsewhere is loaded or connected to, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(serde::Deserialize)]
struct Guest {
    guest: Option<String>,
}

/// The page's routes, to be merged with those of the services.
pub(crate) fn router(tokens: Arc<Tokens>) -> Router {
    let token =
        get(async move |Query(guest): Query<Guest>| answer(&tokens, guest.guest.as_deref()));
    FILES
        .iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(async move || file(kind, text)))
        })
        .route("/dev/token", token)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn answer(tokens: &Tokens, guest: Option<&str>) -> Response {
    let guest = match guest {
        Some(id) if is_guest(id) => id.to_owned(),
        Some(_) => {
            return json(
                StatusCode::BAD_REQUEST,
                r#"{"error":"guest: 1 to 12 of a-z, 0-9"}"#,
            );
        }
        None => uuid::Uuid::new_v4().simple().to_string()[..4].to_owned(),
    };
    match tokens.of_guest(&guest) {
        Ok(token) => json(
            StatusCode::OK,
            serde_json::json!({ "token": token, "guest": guest }).to_string(),
        ),
        Err(error) => {
            tracing::error!(%error, "no token for the page");
            json(StatusCode::INTERNAL_SERVER_ERROR, "{}")
        }
    }
}

fn is_guest(id: &str) -> bool {
    (1..=12).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_only_what_is_served_here() {
        let paths: Vec<&str> = FILES.iter().map(|(path, ..)| *path).collect();
        for (path, _, text) in FILES {
            assert!(
                !text.contains("http://") && !text.contains("https://"),
                "{path}"
            );
            for quoted in text
                .split('"')
                .filter(|part| part.starts_with("/dev/") && part.contains('.'))
            {
                assert!(paths.contains(&quoted), "{path} wants {quoted}");
            }
        }
    }

    #[test]
    fn a_guest_cannot_name_itself_anything() {
        assert!(is_guest("ab12"));
        for wrong in ["", "Ab", "a b", "a\"", "aaaaaaaaaaaaa"] {
            assert!(!is_guest(wrong), "{wrong}");
        }
    }
}
