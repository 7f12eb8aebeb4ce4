//! The Rust client of Rivermouth's protocol, for `rivermouth tail` and `publish`, load tools and tests.
//!
//! Three levels, each usable alone:
//!
//! - [`Client`]: one WebSocket for many channels, that reconnects, resumes every subscription from its
//!   last cursor, proves continuity by `prev`, drops repetitions, and keeps publishes until they are answered.
//! - [`Follower`]: the same resuming reading over server-sent events, an NDJSON stream or polling.
//! - [`Socket`] and [`Http`]: one connection, one call; nothing is retried.
//!
//! The pure parts ([`chain`], [`backoff`], [`outbox`], [`sse`]) know neither sockets nor clocks.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod acks;
mod answer;
pub mod backoff;
pub mod chain;
mod client;
mod commands;
mod driver;
mod endpoint;
mod error;
mod follow;
mod http;
mod message;
mod outage;
pub mod outbox;
mod publish;
mod query;
mod reading;
mod requests;
mod socket;
pub mod sse;
mod subscriptions;

pub use crate::answer::{Answer, History, Page, Poll};
pub use crate::client::{Client, Options, OutboxHandle, Receipt, Stats, Subscription, TokenSource};
pub use crate::endpoint::Endpoint;
pub use crate::error::{Error, Refusal, close_means_reconnect};
pub use crate::follow::{FollowOptions, Follower, Transport};
pub use crate::http::Http;
pub use crate::message::{Connected, Event, Gap, ServerMessage};
pub use crate::publish::{Identity, Publish, Published};
pub use crate::reading::{Lines, SseStream};
pub use crate::socket::{Credential, Socket, SocketOptions};
pub use crate::subscriptions::{Item, Since, Subscribe};
