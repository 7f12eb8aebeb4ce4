//! The HTTP wire: a streamed answer's body, filled by the shard and emptied by hyper.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};

use crate::sub::ConnKey;

/// Bytes that hyper may still owe the client before the shard waits.
const PIPE_MAX: usize = 32 * 1024;

/// Which text the stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `text/event-stream`.
    Sse,
    /// `application/x-ndjson`.
    Lines,
}

/// What the reading end tells the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It took what was queued: there is room again.
    Drained,
    /// It was dropped: nobody reads.
    Gone,
}

/// Hears the signals of a connection's pipe. Must not block.
pub(crate) type Notify = Box<dyn Fn(ConnKey, Signal) + Send + Sync>;

/// The pipe between the shard and one answer's body.
pub(crate) struct Pipe {
    state: Mutex<State>,
    notify: Notify,
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// The shard has nothing more to say, ever.
    finished: bool,
    /// The body was dropped: nobody reads.
    gone: bool,
    /// The shard waits for room.
    blocked: bool,
    waker: Option<Waker>,
    key: Option<ConnKey>,
}

impl Pipe {
    pub(crate) fn new(notify: Notify) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            notify,
        })
    }

    /// The shard took the connection over and calls it this.
    pub(crate) fn owned_by(&self, key: ConnKey) -> bool {
        let mut state = self.lock();
        state.key = Some(key);
        !state.gone
    }

    /// Text that goes out before anything of the shard.
    pub(crate) fn open(&self, text: Bytes) {
        self.push(std::iter::once(text));
    }

    /// Whether there is room for the next message; if not, the shard hears of it when there is.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.lock();
        let room = state.bytes < PIPE_MAX;
        state.blocked = !room;
        room
    }

    pub(crate) fn push(&self, messages: impl Iterator<Item = Bytes>) {
        let waker = {
            let mut state = self.lock();
            for message in messages {
                state.bytes += message.len();
                state.chunks.push_back(message);
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The stream ends after what is in the pipe.
    pub(crate) fn finish(&self) {
        let waker = {
            let mut state = self.lock();
            state.finished = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end: an HTTP body.
#[derive(Debug)]
pub(crate) struct PipeBody(pub(crate) Arc<Pipe>);

impl PipeBody {
    pub(crate) fn into_body(self) -> axum::body::Body {
        axum::body::Body::new(self.map_err(|never| match never {}))
    }
}

impl Body for PipeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut state = self.0.lock();
        let Some(first) = state.chunks.pop_front() else {
            if state.finished {
                return Poll::Ready(None);
            }
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        // One chunk for all that is there: one write.
        let data = if state.chunks.is_empty() {
            first
        } else {
            let mut all = BytesMut::with_capacity(state.bytes);
            all.extend_from_slice(&first);
            for chunk in state.chunks.drain(..) {
                all.extend_from_slice(&chunk);
            }
            all.freeze()
        };
        state.bytes = 0;
        if std::mem::take(&mut state.blocked)
            && let Some(key) = state.key
        {
            drop(state);
            (self.0.notify)(key, Signal::Drained);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl Drop for PipeBody {
    fn drop(&mut self) {
        let key = {
            let mut state = self.0.lock();
            state.gone = true;
            state.chunks.clear();
            state.key
        };
        if let Some(key) = key {
            (self.0.notify)(key, Signal::Gone);
        }
    }
}
