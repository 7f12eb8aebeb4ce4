//! A batch of publishes, one a line: each succeeds or fails alone, and the answers come in order.

use std::sync::Arc;

use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use protocol::client::parse_publish;
use protocol::{Identity, ProtocolError, server};
use serde::Deserialize;
use service::http::json;
use tokio::sync::oneshot;

use super::edge::Refusal;
use crate::{Gateway, Published};

/// What became of one line: known at once, or awaited.
enum Line {
    Refused(ProtocolError, Option<String>),
    Sent(
        oneshot::Receiver<Result<Published, ProtocolError>>,
        Option<String>,
    ),
}

/// Publishes every line of `text` that is not blank, in order.
///
/// # Errors
/// `LIMIT_EXCEEDED` when there are more than `lines_max`; nothing was published then.
pub(super) async fn publish(
    gateway: &Gateway,
    who: &Arc<Identity>,
    text: &[u8],
    lines_max: usize,
) -> Result<Response, Refusal> {
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.len() > lines_max {
        return Err(ProtocolError::limit("lines", lines_max).into());
    }
    // All are handed over before the first answer is awaited: they travel together.
    let sent: Vec<Line> = lines
        .into_iter()
        .map(|line| send(gateway, who, line))
        .collect();
    let mut out = Vec::with_capacity(sent.len() * 128);
    for line in sent {
        let (answer, id) = match line {
            Line::Refused(error, id) => (Err(error), id),
            Line::Sent(answer, id) => (
                answer
                    .await
                    .unwrap_or_else(|_| Err(ProtocolError::timeout())),
                id,
            ),
        };
        match answer {
            Ok(published) => out.extend_from_slice(published.to_value().to_string().as_bytes()),
            Err(error) => out.extend(server::error_line(&error, id.as_deref())),
        }
        out.push(b'\n');
    }
    let mut response = json(StatusCode::OK, out);
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

fn send(gateway: &Gateway, who: &Arc<Identity>, line: &[u8]) -> Line {
    let publish = match parse_publish(line) {
        Ok(publish) => publish,
        Err(error) => return Line::Refused(error, id_of(line)),
    };
    let id = publish.id.clone();
    let (answer, answered) = oneshot::channel();
    gateway.submit(
        who,
        publish,
        Box::new(move |result| {
            let _ = answer.send(result);
        }),
    );
    Line::Sent(answered, id)
}

/// The id of a line that is otherwise no good, so that its sender finds it again.
fn id_of(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let named: Named = serde_json::from_slice(line).ok()?;
    schemas::valid_id(&named.id).then_some(named.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_by_its_id_where_it_has_one() {
        assert_eq!(
            id_of(br#"{"channel":"session.4.2","id":"a1"}"#).as_deref(),
            Some("a1")
        );
        assert_eq!(id_of(br#"{"id":"a b"}"#), None);
        assert_eq!(id_of(br#"{"id":7}"#), None);
        assert_eq!(id_of(b"{\"id\":\"a1\""), None);
        assert_eq!(id_of(b"[]"), None);
    }
}
