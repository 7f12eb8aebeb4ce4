//! What every request meets first: its origin, its credential, its query; and how a refusal looks.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Query, Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use protocol::{ErrorName, Identity, ProtocolError, server, token::Use};
use service::{
    http::{json, now_ms},
    origin::{Origin, preflight as preflight_answer},
};

use crate::{guard::Guard, node::Node};

/// Query parameters that would put a token into logs and histories.
const FORBIDDEN: [&str; 3] = ["token", "jwt", "access_token"];
/// The cookie that a page of ours may carry its token in.
const COOKIE: &str = "rivermouth_token";

/// A request that passed the door.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) origin: Origin,
    pub(super) query: Vec<(String, String)>,
}

/// A refusal, and the channel it is about.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: ProtocolError,
    pub(super) channel: Option<String>,
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        Self {
            error,
            channel: None,
        }
    }
}

/// Judges origin and query; the credential is the caller's next step.
#[allow(
    clippy::result_large_err,
    reason = "the refusal is the answer; it is returned once per request"
)]
pub(super) fn enter(node: &Node, request: &Request) -> Result<Asked, Response> {
    let asked = enter_page(node, request)?;
    match asked.no_token_in_url() {
        Ok(()) => Ok(asked),
        Err(error) => Err(asked.refuse(error)),
    }
}

/// The same for a WebSocket, which is told of bad credentials after its handshake.
#[allow(
    clippy::result_large_err,
    reason = "the refusal is the answer; it is returned once per request"
)]
pub(super) fn enter_page(node: &Node, request: &Request) -> Result<Asked, Response> {
    let origin = node.origins.check(request.headers());
    if origin == Origin::Refused {
        let error = ProtocolError::denied("this origin is not on the list");
        return Err(refuse(error.into(), &origin));
    }
    match Query::<Vec<(String, String)>>::try_from_uri(request.uri()) {
        Ok(Query(query)) => Ok(Asked { origin, query }),
        Err(_) => {
            let error = ProtocolError::invalid("the query cannot be read");
            Err(refuse(error.into(), &origin))
        }
    }
}

impl Asked {
    /// A URL ends up in logs and histories: a token in it is refused, whatever else the request carries.
    pub(super) fn no_token_in_url(&self) -> Result<(), ProtocolError> {
        if self
            .query
            .iter()
            .any(|(name, _)| FORBIDDEN.contains(&name.as_str()))
        {
            let error = "a token does not belong into a URL";
            return Err(ProtocolError::new(ErrorName::AuthRequired, error));
        }
        Ok(())
    }

    /// The value of a parameter; of several the first, empty counts as absent.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// Who asks, by header or by the cookie of an allowed page.
    pub(super) fn who(
        &self,
        node: &Node,
        headers: &HeaderMap,
        used: Use,
    ) -> Result<Arc<Identity>, ProtocolError> {
        let token = self
            .token(headers)?
            .ok_or_else(|| ProtocolError::new(ErrorName::AuthRequired, "a token is required"))?;
        node.verifier.verify(&token, now_ms(), used).map(Arc::new)
    }

    /// The credential, from the first place where there is one.
    pub(super) fn token(&self, headers: &HeaderMap) -> Result<Option<String>, ProtocolError> {
        let bad = || {
            ProtocolError::new(
                ErrorName::AuthRequired,
                "the Authorization header must be one Bearer token",
            )
        };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        if let Some(value) = values.next() {
            let (scheme, token) = value
                .to_str()
                .ok()
                .and_then(|v| v.split_once(' '))
                .ok_or_else(bad)?;
            if !scheme.eq_ignore_ascii_case("bearer") || values.next().is_some() {
                return Err(bad());
            }
            return Ok(Some(token.trim().to_owned()));
        }
        if self.value("ticket").is_some() {
            return Err(ProtocolError::new(
                ErrorName::AuthRequired,
                "tickets are not served yet",
            ));
        }
        Ok(self.cookie(headers))
    }

    fn cookie(&self, headers: &HeaderMap) -> Option<String> {
        if !matches!(self.origin, Origin::Allowed(_)) {
            return None;
        }
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value.to_owned())
    }

    /// An answer of ours with the origin headers on it.
    pub(super) fn finish(&self, mut response: Response) -> Response {
        self.origin.mark(response.headers_mut());
        response
    }

    pub(super) fn refuse(&self, refusal: impl Into<Refusal>) -> Response {
        refuse(refusal.into(), &self.origin)
    }
}

/// A place at the node's door for a connection that stays.
pub(super) fn stay(node: &Node, request: &Request) -> Result<Guard, ProtocolError> {
    if node.is_draining() {
        return Err(ProtocolError::unavailable("this node is stopping", 1_000));
    }
    if node.directory.is_moved() {
        return Err(crate::chunk::moved());
    }
    let extensions = request.extensions();
    let address = extensions.get::<SocketAddr>().ok_or_else(|| {
        ProtocolError::new(ErrorName::Internal, "the peer's address is not known")
    })?;
    let slot = extensions.get::<service::Slot>().cloned();
    node.door
        .enter(address.ip(), slot)
        .ok_or_else(|| ProtocolError::rate_limited(5_000))
}

fn refuse(refusal: Refusal, origin: &Origin) -> Response {
    let Refusal { error, channel } = refusal;
    let status =
        StatusCode::from_u16(error.name.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(
        status,
        server::error_body(&error, channel.as_deref(), now_ms()),
    );
    if let Some(ms) = error.retry_after_ms {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    origin.mark(response.headers_mut());
    response
}

pub(super) async fn preflight(State(node): State<Arc<Node>>, request: Request) -> Response {
    match node.origins.check(request.headers()) {
        Origin::Refused => refuse(
            ProtocolError::denied("this origin is not on the list").into(),
            &Origin::Refused,
        ),
        origin => preflight_answer(&origin),
    }
}

pub(super) async fn not_found(State(node): State<Arc<Node>>, request: Request) -> Response {
    if request.method() == http::Method::OPTIONS {
        return preflight(State(node), request).await;
    }
    unserved(&node, &request, super::not_found())
}

pub(super) async fn wrong_method(State(node): State<Arc<Node>>, request: Request) -> Response {
    unserved(&node, &request, super::wrong_method())
}

/// A foreign page learns of its origin before anything else.
fn unserved(node: &Node, request: &Request, error: ProtocolError) -> Response {
    match node.origins.check(request.headers()) {
        Origin::Refused => refuse(
            ProtocolError::denied("this origin is not on the list").into(),
            &Origin::Refused,
        ),
        origin => refuse(error.into(), &origin),
    }
}
