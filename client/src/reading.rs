//! Answers that never end: NDJSON streams and server-sent events, message by message.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::error::Error;
use crate::message::ServerMessage;
use crate::sse::{Block, Parser};

/// Silence after which a stream is taken for dead: NDJSON has a heartbeat every 25 s, SSE a comment every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The largest line taken from an NDJSON stream.
const LINE_BYTES_MAX: usize = 512 * 1024;

/// The NDJSON stream (`/api/realtime/stream`). Dropping it closes the connection.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    ready: VecDeque<String>,
}

impl Lines {
    pub(crate) fn new(body: Incoming) -> Lines {
        Lines {
            body,
            rest: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next message. Cancel safe. [`Error::Lost`] when the stream ended: resume from the last cursor.
    pub async fn next(&mut self) -> Result<ServerMessage, Error> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return ServerMessage::parse(&line);
            }
            let chunk = chunk(&mut self.body).await?;
            self.rest.extend_from_slice(&chunk);
            if let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let whole: Vec<u8> = self.rest.drain(..=end).collect();
                let text = String::from_utf8(whole)
                    .map_err(|_| Error::Unexpected("a stream that is no UTF-8".into()))?;
                self.ready.extend(
                    text.lines()
                        .filter(|line| !line.is_empty())
                        .map(str::to_owned),
                );
            }
            if self.rest.len() > LINE_BYTES_MAX {
                return Err(Error::Unexpected("an endless line".into()));
            }
        }
    }
}

/// The event stream (`/sse`). Dropping it closes the connection.
#[derive(Debug)]
pub struct SseStream {
    body: Incoming,
    parser: Parser,
    ready: VecDeque<Block>,
    last_event_id: Option<String>,
    retry: Option<Duration>,
}

impl SseStream {
    pub(crate) fn new(body: Incoming) -> SseStream {
        SseStream {
            body,
            parser: Parser::new(),
            ready: VecDeque::new(),
            last_event_id: None,
            retry: None,
        }
    }

    /// The last `id:` seen, what goes into `Last-Event-ID`.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// How long the server asks to wait before a reconnect.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The next block as it came. Cancel safe.
    pub async fn next_block(&mut self) -> Result<Block, Error> {
        loop {
            if let Some(block) = self.ready.pop_front() {
                if let Some(id) = &block.id {
                    self.last_event_id = Some(id.clone());
                }
                if let Some(ms) = block.retry_ms {
                    self.retry = Some(Duration::from_millis(ms));
                }
                return Ok(block);
            }
            let chunk = chunk(&mut self.body).await?;
            let mut blocks = Vec::new();
            self.parser.feed(&chunk, &mut blocks)?;
            self.ready.extend(blocks);
        }
    }

    /// The next message. Cancel safe. [`Error::Lost`] when the stream ended: resume with
    /// [`SseStream::last_event_id`].
    pub async fn next(&mut self) -> Result<ServerMessage, Error> {
        loop {
            let block = self.next_block().await?;
            if !block.data.is_empty() {
                return ServerMessage::parse(&block.data);
            }
        }
    }
}

async fn chunk(body: &mut Incoming) -> Result<bytes::Bytes, Error> {
    loop {
        match timeout(SILENCE_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(data);
                }
            }
            Ok(Some(Err(error))) => return Err(Error::Lost(error.to_string())),
            Ok(None) => return Err(Error::Lost("the stream ended".into())),
            Err(_) => return Err(Error::Lost("the stream fell silent".into())),
        }
    }
}
