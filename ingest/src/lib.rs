//! Publishes become records: what clients and backends send is admitted, appended in order, and answered
//! once the log holds it.
//!
//! A publish enters through [`Gateway::submit`] (a WebSocket of fanout hands it over in the same process)
//! or through the HTTP routes of [`router`]. It is admitted or refused at once, waits in the bounded queue
//! of its partition, is appended by that partition's one sender, and its answer goes back in order.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admit;
mod allowance;
mod breaker;
mod config;
mod conflate;
mod gateway;
mod horizon;
mod http;
mod known;
mod lane;
mod metrics;
mod parts;
mod pins;
mod published;
mod signals;
mod topic;

pub use config::{BreakerConfig, IngestConfig};
pub use gateway::{Gateway, Reply, StartError};
pub use http::{Edge, Tokens, alone, router};
pub use parts::Parts;
pub use published::Published;
