//! What is asked of a hub, and where its answers go.

use std::sync::Arc;

use schemas::Channel;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    chunk::{Pulled, Room, State, Wanted},
    mailbox::{Mailbox, ToShard},
    sub::{From, SubKey},
};

/// A question for the events of one channel.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) channel: Channel,
    pub(crate) from: From,
    pub(crate) want: Want,
    /// Wait until this node has read what the log holds now, so that everybody reads their own writes.
    pub(crate) barrier: bool,
    /// At the end of the ring, attach the asking shard: later events are broadcast to it.
    pub(crate) attach: Option<usize>,
    /// At the end of the ring with nothing to give, wait for the next event.
    pub(crate) park: bool,
    /// For `jobs.*` read by somebody without `job.read`: this user must own the job.
    pub(crate) owner: Option<Arc<str>>,
    /// For the last-n position: which events count.
    pub(crate) wanted: Wanted,
    pub(crate) room: Room,
    /// Asked once: no reason to make a cold channel hot.
    pub(crate) passing: bool,
    /// When it was asked: it is answered within the request timeout, with an error if need be.
    pub(crate) asked: Instant,
    pub(crate) reply: Reply,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Want {
    /// The events.
    #[default]
    Events,
    /// The state where the events begin, then the events.
    StateFirst,
    /// The state at exactly that position, and no events.
    StateOnly,
}

/// Who hears the answer. Dropping it unanswered is seen by the asker as a lost node.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A subscription of a shard.
    Shard { mailbox: Arc<Mailbox>, sub: SubKey },
    /// A task that waits.
    Once(oneshot::Sender<Pulled>),
    /// Somebody who hears the state with it.
    Stated { to: Box<Reply>, state: State },
}

impl Reply {
    /// Hands the answer over. A subscription has one pull at a time, so its mailbox is bounded by the subscriptions.
    pub(crate) fn send(self, pulled: Pulled) {
        match self {
            Reply::Shard { mailbox, sub } => mailbox.post(ToShard::Pulled {
                sub,
                pulled: pulled.map(Box::new),
            }),
            Reply::Once(sender) => drop(sender.send(pulled)),
            stated @ Reply::Stated { .. } => {
                let (reply, pulled) = stated.unfold(pulled);
                reply.send(pulled);
            }
        }
    }

    /// The same asker, who hears the state with the answer.
    pub(crate) fn stated(to: Reply, state: State) -> Reply {
        Reply::Stated {
            to: Box::new(to),
            state,
        }
    }

    /// Puts a state that was found into the answer.
    pub(crate) fn unfold(self, pulled: Pulled) -> (Reply, Pulled) {
        match self {
            Reply::Stated { to, state } => {
                let pulled = pulled.map(|mut chunk| {
                    chunk.state = Some(state);
                    chunk
                });
                to.unfold(pulled)
            }
            plain => (plain, pulled),
        }
    }

    /// Nobody waits any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Reply::Shard { .. } => false,
            Reply::Once(sender) => sender.is_closed(),
            Reply::Stated { to, .. } => to.is_gone(),
        }
    }
}

/// What a hub is told.
#[derive(Debug)]
pub(crate) enum Command {
    Pull(Pull),
    /// One subscription of the shard no longer takes the channel's broadcasts.
    Detach {
        channel: Channel,
        shard: usize,
    },
}
