//! What every process of Rivermouth does the same: shutdown, logs, metrics, health, the HTTP listener, settings.
//!
//! Nothing in here knows about events, channels or Kafka. A service is started with a [`Shutdown`], a
//! [`Metrics`] registry and a [`Health`] report, hands an `axum::Router` to [`serve`], and ends when told to.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod connections;
pub mod health;
pub mod http;
mod listener;
mod metrics;
pub mod origin;
#[doc(hidden)]
pub mod planted;
pub mod registry;
mod request;
pub mod secret;
pub mod settings;
mod shutdown;
pub mod telemetry;

pub use admin::admin_router;
pub use connections::Slot;
pub use health::{Component, Health, Latch};
pub use listener::{ServeConfig, ServeError, bind, serve};
pub use metrics::{Metrics, latency_buckets};
pub use registry::{SchemaRegistry, SchemaRegistryError};
pub use secret::Secret;
pub use shutdown::{Shutdown, Unfinished};
