//! The WebSocket handshake: checked here, upgraded by hyper, then the socket itself goes to a shard.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use protocol::{
    ErrorName, ProtocolError,
    client::{Since, Subscribe, parse_durable, parse_types, parse_window},
    server::PROTOCOL,
    token::Use,
};
use schemas::Channel;
use service::http::now_ms;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use uuid::Uuid;

use super::{edge, edge::Asked};
use crate::{
    mailbox::{Admission, NewConnection, Sugar, ToShard},
    node::Node,
};

/// How long the upgrade may take after the answer was sent.
const UPGRADE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn multiplexed(State(node): State<Arc<Node>>, request: Request) -> Response {
    handshake(node, request, None)
}

pub(super) async fn session(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    handshake(node, request, Some(format!("session.{id}")))
}

pub(super) async fn user(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    handshake(node, request, Some(format!("user.{id}")))
}

pub(super) async fn broadcast(State(node): State<Arc<Node>>, request: Request) -> Response {
    handshake(node, request, Some("broadcast".to_owned()))
}

/// The subscription that a path makes, with its parameters from the query.
fn sugar(asked: &Asked, channel: &str) -> Result<Box<Subscribe>, ProtocolError> {
    let channel = Channel::parse(channel).map_err(|e| ProtocolError::invalid(e.to_string()))?;
    let mut subscribe = Subscribe::new(channel);
    subscribe.since = Since::parse_query(asked.value("since").unwrap_or(""))?;
    subscribe.types = parse_types(asked.value("types").unwrap_or(""))?;
    subscribe.window = asked.value("window").map(parse_window).transpose()?;
    subscribe.durable = asked.value("durable").map(parse_durable).transpose()?;
    subscribe.snapshot = asked.value("snapshot") == Some("true");
    Ok(Box::new(subscribe))
}

fn handshake(node: Arc<Node>, mut request: Request, channel: Option<String>) -> Response {
    let asked = match edge::enter_page(&node, &request) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let accept = match accept_key(request.headers()) {
        Ok(accept) => accept,
        Err(error) => return asked.refuse(error),
    };
    let sugar = channel.map(|channel| Sugar {
        subscribe: sugar(&asked, &channel),
        channel,
    });
    let guard = match edge::stay(&node, &request) {
        Ok(guard) => guard,
        Err(error) => return asked.refuse(error),
    };
    let offers = Offers::of(request.headers());
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return asked.refuse(ProtocolError::invalid("this connection cannot be upgraded"));
    };
    let who = admit(&node, &asked, request.headers(), &offers);
    let shard = Arc::clone(node.shard());
    node.runtime.spawn(async move {
        let upgraded = match tokio::time::timeout(UPGRADE, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            _ => return,
        };
        match socket_of(upgraded) {
            Ok((socket, early)) => shard.post(ToShard::Adopt(Box::new(NewConnection {
                id: Uuid::now_v7().to_string().into(),
                socket,
                early,
                who,
                sugar,
                guard,
            }))),
            Err(error) => tracing::warn!(%error, "an upgraded socket was lost"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if offers.rivermouth {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(PROTOCOL),
        );
    }
    asked.finish(response)
}

/// RFC 6455, section 4.2.1.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, ProtocolError> {
    let has = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|v| v.trim().eq_ignore_ascii_case(wanted))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(ProtocolError::invalid(
            "this path speaks WebSocket: an upgrade is missing",
        ));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(ProtocolError::invalid("Sec-WebSocket-Version must be 13"));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24)
        .ok_or_else(|| ProtocolError::invalid("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| ProtocolError::new(ErrorName::Internal, "no accept key"))
}

/// What the client offers as subprotocols.
struct Offers {
    rivermouth: bool,
    bearer: Option<String>,
}

impl Offers {
    fn of(headers: &HeaderMap) -> Self {
        let mut offers = Self {
            rivermouth: false,
            bearer: None,
        };
        let listed = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        for offer in listed {
            match offer.trim() {
                PROTOCOL => offers.rivermouth = true,
                other => {
                    if let (Some(token), None) = (other.strip_prefix("bearer."), &offers.bearer) {
                        offers.bearer = Some(token.to_owned());
                    }
                }
            }
        }
        offers
    }
}

/// Header, then subprotocol, then cookie; a credential that is present and bad ends the attempt.
fn admit(node: &Node, asked: &Asked, headers: &HeaderMap, offers: &Offers) -> Admission {
    if let Err(error) = asked.no_token_in_url() {
        return Admission::Refused(error);
    }
    let token = match (headers.contains_key(header::AUTHORIZATION), &offers.bearer) {
        (false, Some(bearer)) => Ok(Some(bearer.clone())),
        _ => asked.token(headers),
    };
    match token {
        Ok(None) => Admission::Awaited,
        Ok(Some(token)) => match node.verifier.verify(&token, now_ms(), Use::Connection) {
            Ok(who) => Admission::Known(Arc::new(who)),
            Err(error) => Admission::Refused(error),
        },
        Err(error) => Admission::Refused(error),
    }
}

/// The socket itself and what came after the handshake.
fn socket_of(upgraded: Upgraded) -> Result<(std::net::TcpStream, Vec<u8>), String> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| "the listener's sockets are not plain TCP".to_owned())?;
    let socket = parts
        .io
        .into_inner()
        .into_std()
        .map_err(|e| e.to_string())?;
    socket.set_nonblocking(true).map_err(|e| e.to_string())?;
    socket.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok((socket, parts.read_buf.to_vec()))
}
