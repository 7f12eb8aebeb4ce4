//! What handles ask of the driver. The queue between them is bounded; a full one makes the caller wait.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::publish::{Publish, Published};
use crate::subscriptions::{Item, Subscribe};

/// How many commands may wait for the driver.
pub(crate) const COMMANDS_MAX: usize = 256;

/// Answers travel through one-shot channels: a dropped one means that the driver is gone.
pub(crate) enum Command {
    Subscribe {
        id: u64,
        request: Subscribe,
        items: mpsc::Sender<Item>,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    Unsubscribe {
        id: u64,
        channel: String,
    },
    Ack {
        id: u64,
        channel: String,
        cursor: String,
    },
    Request {
        method: &'static str,
        params: String,
        again: bool,
        deadline: Instant,
        reply: Reply,
    },
    Outbox {
        producer: String,
        epoch: u64,
        publish: Publish,
        reply: oneshot::Sender<Result<Published, Error>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// The response's JSON text, or why there is none.
pub(crate) type Reply = oneshot::Sender<Result<String, Error>>;
