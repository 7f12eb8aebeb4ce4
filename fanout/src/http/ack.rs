//! `POST /api/realtime/ack`: an acknowledgement without a connection, kept before it is answered.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use protocol::{
    ErrorName, Identity, Position, ProtocolError,
    access::may_read,
    client::{KeptAck, parse_ack},
    token::Use,
};
use schemas::KeptKey;
use service::http::{BodyError, now_ms, read_body};
use tokio::time::{Instant, timeout_at};

use super::{edge, edge::Refusal};
use crate::{history, kept::source_of, node::Node};

/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);

pub(super) async fn ack(State(node): State<Arc<Node>>, request: Request) -> Response {
    let asked = match edge::enter(&node, &request) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let (parts, body) = request.into_parts();
    let kept = async {
        let who = asked.who(&node, &parts.headers, Use::Request)?;
        let body = text(&node, &parts.headers, body).await?;
        let ack = parse_ack(&body)?;
        let channel = ack.channel.to_string();
        keep(&node, &who, ack).await.map_err(|error| Refusal {
            error,
            channel: Some(channel),
        })
    };
    match kept.await {
        Ok(()) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            asked.finish(response)
        }
        Err(refusal) => asked.refuse(refusal),
    }
}

async fn text(node: &Node, headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, ProtocolError> {
    let plain = |v: &http::HeaderValue| v.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        let error = "a body with Content-Encoding is not taken";
        return Err(ProtocolError::invalid(error));
    }
    read_body(body, node.limits.message_bytes_max, BODY)
        .await
        .map_err(|error| match error {
            BodyError::TooLarge { bytes_max } => ProtocolError::too_large(bytes_max),
            BodyError::Late(_) => {
                ProtocolError::new(ErrorName::Timeout, "the body did not arrive in time")
            }
            BodyError::Broken => ProtocolError::invalid("the body broke off"),
        })
}

async fn keep(node: &Arc<Node>, who: &Identity, ack: KeptAck) -> Result<(), ProtocolError> {
    let deadline = Instant::now() + node.limits.request_timeout;
    node.allowance.charge(who, now_ms())?;
    let position = named(node, who, &ack, deadline).await?;
    let watch = node.keeper.watch(KeptKey {
        channel: ack.channel,
        user: who.sub.clone(),
        durable: ack.durable,
    });
    // An older one is ignored. Who cannot be asked how far it was (the store is away) does not stop the reader: a
    // record that is behind counts for nobody.
    let half = Instant::now() + node.limits.request_timeout / 2;
    drop(timeout_at(half, watch.find()).await);
    if watch.covers(position) {
        return Ok(());
    }
    timeout_at(deadline, watch.acked(position, now_ms()))
        .await
        .unwrap_or_else(|_| Err(ProtocolError::timeout()))
}

/// The position, once it is clear that this user may read the channel and that the log has come that far.
async fn named(
    node: &Arc<Node>,
    who: &Identity,
    ack: &KeptAck,
    deadline: Instant,
) -> Result<Position, ProtocolError> {
    let read = may_read(&node.namespaces, who, &ack.channel)?;
    let source = source_of(&ack.channel);
    let position = node.tiers.framer.cursors.decode(&source, &ack.cursor)?;
    let place = node.directory.durable(&source);
    let present = node.directory.position(&place, position.next);
    if position.generation > present.generation || position.partition != present.partition {
        return Err(ProtocolError::cursor());
    }
    // The hub knows whose a job is, and the end with it.
    let end = if source.namespace() == "jobs" {
        history::end_of(node, who, read, source, deadline).await?
    } else {
        node.tiers.log_end(&place).await?
    };
    if position.generation == present.generation && position.next > end {
        return Err(ProtocolError::cursor());
    }
    Ok(position)
}
