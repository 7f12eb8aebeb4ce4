//! `GET /api/realtime/poll`: long polling, and with `wait=0` short polling, on the same cursors as every stream.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use http::{HeaderMap, StatusCode};
use protocol::{ProtocolError, server, token::Use};
use service::http::json;
use tokio::time::{Instant, timeout_at};

use super::{
    edge, edge::Asked, edge::Refusal, stream::first_chunk, stream::pull, stream::resume_kept,
    stream::subscriptions,
};
use crate::{
    chunk::{Chunk, Gap},
    event::Delivered,
    node::Node,
    start::Prepared,
    sub::{From, Start, Step, Sub},
};

/// Events of one answer.
const EVENTS_MAX: usize = 1_000;
/// Bytes of one answer, about.
const BYTES_MAX: usize = 256 * 1024;
/// How long a poll waits unless it says otherwise.
const WAIT: Duration = Duration::from_secs(25);

pub(super) async fn poll(State(node): State<Arc<Node>>, request: Request) -> Response {
    let asked = match edge::enter(&node, &request) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let headers = request.headers().clone();
    let guard = edge::stay(&node, &request);
    let answer = async {
        let _guard = guard?;
        answer(&node, &asked, &headers).await
    };
    match answer.await {
        Ok(body) => asked.finish(json(StatusCode::OK, body)),
        Err(refusal) => asked.refuse(refusal),
    }
}

/// One channel of a poll.
struct Polled {
    sub: Sub,
    start: Option<Start>,
}

/// What a poll has found.
#[derive(Default)]
struct Found {
    events: Vec<Arc<Delivered>>,
    bytes: usize,
    /// The first gap, as JSON.
    gap: Option<Vec<u8>>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX || self.bytes >= BYTES_MAX
    }

    fn is_something(&self) -> bool {
        !self.events.is_empty() || self.gap.is_some()
    }
}

async fn answer(node: &Arc<Node>, asked: &Asked, headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let who = asked.who(node, headers, Use::Request)?;
    let wait = wait_of(node, asked)?;
    if asked.value("snapshot") == Some("true") {
        let error = "a poll has no snapshot: ask GET /api/realtime/snapshot";
        return Err(ProtocolError::invalid(error).into());
    }
    let mut prepared = subscriptions(node, &who, asked, headers, None)?;
    resume_kept(node, &mut prepared).await?;
    let mut channels: Vec<Polled> = prepared
        .into_iter()
        .map(|Prepared { sub, start }| Polled {
            sub,
            start: Some(start),
        })
        .collect();
    // Without a position the answer is the present one, at once.
    let at_once = asked.value("since").is_none()
        && asked.value("lastEventId").is_none()
        && headers.get("last-event-id").is_none_or(|v| v.is_empty())
        && !channels
            .iter()
            .any(|c| c.start.as_ref().is_some_and(|s| s.was_recovering));
    let deadline = Instant::now() + node.limits.request_timeout;
    let firsts = join_all(channels.iter().map(|c| async {
        let start = c.start.as_ref().ok_or_else(ProtocolError::cursor)?;
        first_chunk(node, &c.sub, start, false, deadline).await
    }))
    .await;
    let mut found = Found::default();
    for (channel, first) in channels.iter_mut().zip(firsts) {
        let mut chunk = first.map_err(|error| Refusal {
            error,
            channel: Some(channel.sub.asked.to_string()),
        })?;
        channel.sub.next = chunk.start;
        if let Some(from) = channel.start.take().and_then(|s| s.outlived) {
            let to = cursor(node, &channel.sub, chunk.start);
            found.gap.get_or_insert_with(|| {
                server::gap_data(Some(&from), Some(&to), server::GapReason::Epoch)
            });
        }
        loop {
            let end = chunk.reached_end;
            if found.gap.is_some() && chunk.gap.is_some() {
                // An answer tells of one gap: the next poll begins with this one.
                break;
            }
            let more = channel.take(node, chunk, &mut found);
            if end || !more {
                break;
            }
            chunk = pull(
                node,
                &channel.sub,
                From::Next(channel.sub.next),
                None,
                false,
                false,
                deadline,
            )
            .await?;
        }
    }
    if !found.is_something() && !at_once && !wait.is_zero() {
        park(node, &mut channels, &mut found, Instant::now() + wait).await;
    }
    let directory = &node.directory;
    let positions: Vec<_> = channels
        .iter()
        .map(|c| {
            let place = directory.durable(&c.sub.channel);
            (
                c.sub.channel.clone(),
                directory.position(&place, c.sub.next),
            )
        })
        .collect();
    let cursor = node.tiers.framer.cursors.encode_stream(&positions);
    let frames: Vec<&[u8]> = found.events.iter().map(|e| e.json()).collect();
    Ok(server::poll(&frames, &cursor, found.gap.as_deref()))
}

/// Waits at the heads of all channels for the first event that is wanted, or until the time is over.
async fn park(node: &Arc<Node>, channels: &mut [Polled], found: &mut Found, until: Instant) {
    while !found.is_something() && !node.is_draining() {
        let first = {
            let mut waiting: FuturesUnordered<_> = channels
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    pull(
                        node,
                        &c.sub,
                        From::Next(c.sub.next),
                        None,
                        false,
                        true,
                        until,
                    )
                    .map(move |p| (i, p))
                })
                .collect();
            let next = tokio::select! {
                next = timeout_at(until, waiting.next()) => next,
                () = node.draining.cancelled() => return,
            };
            match next {
                Ok(Some((i, Ok(chunk)))) => (i, chunk),
                // A channel that cannot be read now ends the wait: the next poll says what is wrong.
                _ => return,
            }
        };
        channels[first.0].take(node, first.1, found);
    }
}

impl Polled {
    /// False: this answer takes no more of the channel.
    fn take(&mut self, node: &Node, chunk: Chunk, found: &mut Found) -> bool {
        self.sub.begin(&chunk, false);
        if let Some(Gap { from, to, reason }) = chunk.gap {
            let (from, to) = (cursor(node, &self.sub, from), cursor(node, &self.sub, to));
            found
                .gap
                .get_or_insert_with(|| server::gap_data(Some(&from), Some(&to), reason));
        }
        for event in &chunk.events {
            if found.is_full() {
                return false;
            }
            match self.sub.step(event) {
                Step::Deliver => {
                    found.bytes += event.line().len();
                    found.events.push(Arc::clone(event));
                }
                Step::Pass => {}
                Step::Full => return false,
            }
        }
        self.sub.next = self.sub.next.max(chunk.next);
        !found.is_full()
    }
}

fn cursor(node: &Node, sub: &Sub, next: i64) -> String {
    let place = node.directory.durable(&sub.channel);
    node.tiers.framer.cursor(&sub.channel, &place, next)
}

fn wait_of(node: &Node, asked: &Asked) -> Result<Duration, ProtocolError> {
    let Some(text) = asked.value("wait") else {
        return Ok(WAIT);
    };
    let seconds: u64 = text
        .parse()
        .map_err(|_| ProtocolError::invalid("wait must be a whole number of seconds"))?;
    Ok(Duration::from_secs(seconds).min(node.limits.poll_wait_max))
}
