//! Streamed answers: server-sent events and newline-delimited JSON. The first pulls happen here, so that what is
//! wrong is an HTTP status; then the stream belongs to a shard.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderMap, HeaderValue, header};
use protocol::{
    ErrorName, Identity, ProtocolError,
    access::may_read,
    client::{Since, Subscribe, parse_durable, parse_types, parse_window},
    token::Use,
};
use schemas::Channel;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{edge, edge::Asked, edge::Refusal};
use crate::{
    chunk::{Chunk, Pulled, Room},
    history::ask,
    mailbox::{NewStream, ToShard},
    node::Node,
    pipe::{Form, Pipe, PipeBody, Signal},
    pull::{Pull, Reply, Want},
    start::{Prepared, begin_at, prepare},
    sub::{From, Opening, Start, Sub},
};

/// Bytes of each channel's first chunk.
const FIRST_BYTES: usize = 32 * 1024;

pub(super) async fn sse(State(node): State<Arc<Node>>, request: Request) -> Response {
    stream(node, request, Form::Sse, None).await
}

pub(super) async fn lines(State(node): State<Arc<Node>>, request: Request) -> Response {
    stream(node, request, Form::Lines, None).await
}

pub(super) async fn activity(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    stream(node, request, Form::Sse, Some(format!("activity.{id}"))).await
}

pub(super) async fn notifications(State(node): State<Arc<Node>>, request: Request) -> Response {
    stream(node, request, Form::Sse, Some("user.".to_owned())).await
}

pub(super) async fn system(State(node): State<Arc<Node>>, request: Request) -> Response {
    stream(node, request, Form::Sse, Some("system".to_owned())).await
}

async fn stream(
    node: Arc<Node>,
    request: Request,
    form: Form,
    channel: Option<String>,
) -> Response {
    let asked = match edge::enter(&node, &request) {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let (headers, guard) = (request.headers().clone(), edge::stay(&node, &request));
    let begun = async {
        let who = asked.who(&node, &headers, Use::Connection)?;
        // Whose notifications: the user of the token, never one that a URL names.
        let channel = channel.map(|c| {
            if c == "user." {
                format!("user.{}", who.sub)
            } else {
                c
            }
        });
        let guard = guard?;
        let mut prepared = subscriptions(&node, &who, &asked, &headers, channel)?;
        resume_kept(&node, &mut prepared).await?;
        let subs = first_chunks(&node, prepared).await?;
        Ok::<_, Refusal>((who, guard, subs))
    };
    let (who, guard, subs) = match begun.await {
        Ok(begun) => begun,
        Err(refusal) => return asked.refuse(refusal),
    };
    let shard = Arc::clone(node.shard());
    let bell = Arc::clone(&shard);
    let pipe = Pipe::new(Box::new(move |key, signal| {
        bell.post(match signal {
            Signal::Drained => ToShard::Drained(key),
            Signal::Gone => ToShard::Gone(key),
        });
    }));
    if form == Form::Sse {
        pipe.open(Bytes::from_static(b"retry: 1000\n\n"));
    }
    let body = PipeBody(Arc::clone(&pipe)).into_body();
    shard.post(ToShard::Stream(Box::new(NewStream {
        id: Uuid::now_v7().to_string().into(),
        who,
        pipe,
        form,
        subs,
        guard,
    })));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(match form {
            Form::Sse => "text/event-stream",
            Form::Lines => "application/x-ndjson",
        }),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    asked.finish(response)
}

/// The channels of the request, each with its start.
pub(super) fn subscriptions(
    node: &Node,
    who: &Identity,
    asked: &Asked,
    headers: &HeaderMap,
    channel: Option<String>,
) -> Result<Vec<Prepared>, Refusal> {
    let names: Vec<&str> = match &channel {
        Some(channel) => vec![channel],
        None => asked
            .query
            .iter()
            .filter(|(name, value)| name == "channel" && !value.is_empty())
            .map(|(_, value)| value.as_str())
            .collect(),
    };
    let max = node.limits.stream_channels_max;
    if names.is_empty() {
        return Err(ProtocolError::invalid("channel is missing").into());
    }
    if names.len() > max {
        return Err(ProtocolError::limit("channels", max).into());
    }
    let mut channels: Vec<Channel> = Vec::with_capacity(names.len());
    for name in names {
        let channel =
            Channel::parse(name).map_err(|e| about(name, ProtocolError::invalid(e.to_string())))?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    let mut reads = Vec::with_capacity(channels.len());
    for channel in &channels {
        reads.push(
            may_read(&node.namespaces, who, channel).map_err(|e| about(channel.as_str(), e))?,
        );
    }
    let window = asked.value("window").map(parse_window).transpose()?;
    let durable = asked.value("durable").map(parse_durable).transpose()?;
    if window.is_some() && durable.is_none() {
        return Err(ProtocolError::invalid("window needs durable here").into());
    }
    let starts = starts(node, asked, headers, &channels)?;
    let types = parse_types(asked.value("types").unwrap_or(""))?;
    channels
        .into_iter()
        .zip(reads)
        .zip(starts)
        .map(|((channel, read), since)| {
            let name = channel.to_string();
            let subscribe = Subscribe {
                since,
                types: types.clone(),
                snapshot: asked.value("snapshot") == Some("true"),
                durable: durable.clone(),
                window,
                ..Subscribe::new(channel)
            };
            prepare(node, who, read, subscribe).map_err(|e| about(&name, e))
        })
        .collect()
}

/// Where each channel starts: the last event id, as header or parameter, before `since`.
fn starts(
    node: &Node,
    asked: &Asked,
    headers: &HeaderMap,
    channels: &[Channel],
) -> Result<Vec<Since>, ProtocolError> {
    let header = headers
        .get("last-event-id")
        .map(|value| value.to_str().map_err(|_| ProtocolError::cursor()))
        .transpose()?
        .filter(|value| !value.is_empty());
    let since = match header.or_else(|| asked.value("lastEventId")) {
        Some(cursor) => Since::Cursor(cursor.to_owned()),
        None => Since::parse_query(asked.value("since").unwrap_or(""))?,
    };
    let Since::Cursor(cursor) = &since else {
        return Ok(vec![since; channels.len()]);
    };
    // A stream cursor names sources: a view stands in its session's place.
    let sources: Vec<Channel> = channels
        .iter()
        .map(|c| protocol::access::view_of(c).map_or_else(|| c.clone(), |(source, _)| source))
        .collect();
    let named = node
        .tiers
        .framer
        .cursors
        .decode_stream(&sources, cursor)
        .map_err(|_| ProtocolError::cursor())?;
    Ok(named
        .into_iter()
        .map(|position| match position {
            Some(_) => since.clone(),
            None => Since::Latest,
        })
        .collect())
}

/// Channels whose cursor is kept under the name begin there: it wins over any other position.
pub(super) async fn resume_kept(node: &Node, prepared: &mut [Prepared]) -> Result<(), Refusal> {
    let deadline = Instant::now() + node.limits.request_timeout;
    try_join_all(
        prepared
            .iter_mut()
            .map(|Prepared { sub, start }| async move {
                let Some(watch) = &sub.durable else {
                    return Ok(());
                };
                let found = timeout_at(deadline, watch.find()).await;
                let found = found.unwrap_or_else(|_| Err(late()));
                match found {
                    Ok(Some(kept)) => begin_at(node, sub, start, kept),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                }
                .map_err(|e| about(sub.asked.as_str(), e))
            }),
    )
    .await?;
    Ok(())
}

fn late() -> ProtocolError {
    let message = "the kept cursors could not be read in time";
    ProtocolError::new(ErrorName::Timeout, message)
}

fn about(channel: &str, error: ProtocolError) -> Refusal {
    Refusal {
        error,
        channel: Some(channel.to_owned()),
    }
}

/// Pulls each channel's first chunk without attaching: it fixes where the stream begins.
async fn first_chunks(
    node: &Node,
    prepared: Vec<Prepared>,
) -> Result<Vec<(Sub, Box<Chunk>)>, Refusal> {
    let deadline = Instant::now() + node.limits.request_timeout;
    try_join_all(
        prepared
            .into_iter()
            .map(|Prepared { mut sub, start }| async move {
                let chunk = first_chunk(node, &sub, &start, false, deadline)
                    .await
                    .map_err(|e| about(sub.asked.as_str(), e))?;
                sub.opening = Some(Box::new(Opening {
                    start,
                    request: None,
                }));
                Ok((sub, Box::new(chunk)))
            }),
    )
    .await
}

/// One pull with the node caught up to the present.
pub(super) async fn first_chunk(
    node: &Node,
    sub: &Sub,
    start: &Start,
    park: bool,
    deadline: Instant,
) -> Result<Chunk, ProtocolError> {
    let (reply, answer) = oneshot::channel();
    let pull = Pull {
        want: start.want(),
        barrier: !park,
        park,
        owner: start.owner.clone(),
        ..question(sub, start.from, reply)
    };
    ask(node, pull, answer, deadline).await
}

/// Asks the hub once.
pub(super) async fn pull(
    node: &Node,
    sub: &Sub,
    from: From,
    owner: Option<Arc<str>>,
    barrier: bool,
    park: bool,
    deadline: Instant,
) -> Result<Chunk, ProtocolError> {
    let (reply, answer) = oneshot::channel();
    let pull = Pull {
        barrier,
        park,
        owner,
        ..question(sub, from, reply)
    };
    ask(node, pull, answer, deadline).await
}

fn question(sub: &Sub, from: From, reply: oneshot::Sender<Pulled>) -> Pull {
    Pull {
        channel: sub.channel.clone(),
        from,
        want: Want::Events,
        barrier: false,
        attach: None,
        park: false,
        owner: None,
        wanted: sub.wanted.clone(),
        room: Room::of(FIRST_BYTES),
        passing: false,
        asked: Instant::now(),
        reply: Reply::Once(reply),
    }
}
