//! How the servers under test are spoken to: what a client says, and where an event is in what it hears.

mod nats;
mod nchan;
mod relay;
mod rivermouth;
mod socketio;

use std::net::SocketAddr;

pub use nats::Nats;
pub use nchan::Nchan;
pub use relay::Relay;
pub use rivermouth::{EVENT, Rivermouth, channel};
pub use socketio::SocketIo;

/// One client, as far as a server is told.
#[derive(Debug, Clone)]
pub struct Who {
    /// Counted from 0; every client is a user of its own.
    pub user: u32,
    /// The channel it is a member of or publishes to, counted from 0.
    pub channel: u32,
    /// It is a member of so many, one after the other from `channel` on.
    pub channels: u32,
    /// Whether it wants the channel's events; one that does not only publishes.
    pub member: bool,
    /// From where on it wants them, in the server's own words; nothing for from now on.
    pub since: Option<String>,
}

impl Who {
    /// A member of a channel, from now on.
    pub fn member(user: u32, channel: u32) -> Who {
        Who {
            user,
            channel,
            channels: 1,
            member: true,
            since: None,
        }
    }

    /// Somebody who publishes to a channel and wants nothing of it.
    pub fn publisher(user: u32, channel: u32) -> Who {
        Who {
            member: false,
            ..Who::member(user, channel)
        }
    }
}

/// What a client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It is in: what is published from now on reaches it.
    Joined,
    /// An event: the whole message, beginning at the payload with our marks.
    Event {
        /// From [`crate::payload::START`] on.
        payload: &'a [u8],
        /// Everything around it.
        message: &'a [u8],
    },
    /// It has everything that was there when it asked.
    Level,
    /// One of its publishes is safe.
    Acknowledged,
    /// Has to be said to the server, as a whole frame.
    Reply(&'a [u8]),
    /// Nothing of interest.
    Nothing,
    /// Something is wrong.
    Complaint(&'a [u8]),
}

/// A server's way of talking over WebSocket. One object serves all connections.
pub trait Dialect: std::fmt::Debug {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// The request that opens a connection.
    fn upgrade(&self, who: &Who) -> Vec<u8>;

    /// What is said right after the upgrade, as frames. A connection to which the server says nothing of itself is
    /// joined when `hear` says so at the latest.
    fn join(&self, who: &Who, out: &mut Vec<u8>);

    /// True when the connection stands as soon as the upgrade is answered, because the server says nothing more.
    fn joined_by_upgrade(&self, who: &Who) -> bool {
        let _ = who;
        false
    }

    /// One data frame came. `rest` is the connection's own, for what a frame has cut in two.
    fn hear(&self, frame: &[u8], rest: &mut Vec<u8>, told: &mut dyn FnMut(Heard<'_>));

    /// Says `payload` to the channel, as frames.
    fn publish(&self, who: &Who, payload: &[u8], out: &mut Vec<u8>);

    /// The place of an event's message, for [`Who::since`].
    fn cursor(&self, message: &[u8]) -> Option<String> {
        let _ = message;
        None
    }
}
