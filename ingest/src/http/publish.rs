//! `POST /api/realtime/publish`: one publish, or one a line.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use protocol::ProtocolError;
use protocol::client::{Publish, parse_publish};
use service::http::json;

use super::edge::{Kind, Refusal, body, idempotency_key, identify, kind};
use super::{Door, batch};

pub(super) async fn publish(
    State(door): State<Door>,
    request: Request,
) -> Result<Response, Refusal> {
    let who = identify(&door.edge, request.uri(), request.headers())?;
    let kind = kind(request.headers())?;
    let key = idempotency_key(request.headers())?;
    let limits = door.gateway.limits();
    match kind {
        Kind::Json => {
            let text = body(&door.edge, request, limits.message_bytes_max).await?;
            let publish = with_key(parse_publish(&text)?, key)?;
            one(&door, &who, publish).await
        }
        Kind::Lines if key.is_some() => Err(ProtocolError::invalid(
            "Idempotency-Key names one publish, not a batch: put ids into the lines",
        )
        .into()),
        Kind::Lines => {
            let lines_max = limits.batch_lines_max;
            let text = body(&door.edge, request, limits.batch_bytes_max).await?;
            batch::publish(&door.gateway, &who, &text, lines_max).await
        }
    }
}

/// Publishes and answers 200 with `{"id","cursor","duplicate"}`.
pub(super) async fn one(
    door: &Door,
    who: &std::sync::Arc<protocol::Identity>,
    publish: Publish,
) -> Result<Response, Refusal> {
    let channel = publish.channel.clone();
    match door.gateway.publish(who, publish).await {
        Ok(published) => Ok(json(StatusCode::OK, published.to_value().to_string())),
        Err(error) => Err(Refusal::about(error, &channel)),
    }
}

/// The publish under the id of its `Idempotency-Key`.
pub(super) fn with_key(
    mut publish: Publish,
    key: Option<String>,
) -> Result<Publish, ProtocolError> {
    if let Some(key) = key {
        if publish.id.as_ref().is_some_and(|id| *id != key) {
            return Err(ProtocolError::invalid("id and Idempotency-Key differ"));
        }
        publish.id = Some(key);
    }
    Ok(publish)
}
