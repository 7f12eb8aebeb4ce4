//! PostgreSQL: the only room that speaks SQL. Rows and offsets in one transaction, history reads, leases.
//!
//! Data enters through [`Store::write`] (the persister's batches) and leaves through [`Store::checkpoint`],
//! [`Store::events_after`] and [`Store::history`]. Every statement is a constant; the tables are explained in
//! `migrations/`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod channel;
mod checkpoint;
mod connect;
mod days;
mod deliveries;
mod digest;
mod durability;
mod error;
mod history;
mod jobs;
mod leases;
mod migrate;
mod offsets;
mod place;
mod reach;
mod rebuild;
mod rows;
mod snapshots;
pub mod testing;
mod truncation;
mod window;
mod write;

pub use channel::{ChannelState, KnownId, ProducerState};
pub use checkpoint::{ChannelCheckpoint, Checkpoint};
pub use connect::{Store, StoreOptions};
pub use days::{DAY_MS, day_of};
pub use deliveries::{DeliveryRow, KeptCursors};
pub use digest::Digest;
pub use durability::Weakness;
pub use error::StoreError;
pub use history::HistoryFilter;
pub use jobs::{JobRow, JobStep};
pub use leases::{Leases, Shares};
pub use offsets::{LOST_MAX, Progress};
pub use place::Place;
pub use rebuild::{Order, Rebuild, Way};
pub use rows::{EventRow, NewEvent, QuarantineRow};
pub use snapshots::{Footing, SnapshotRow};
pub use write::Batch;

/// How long an event id is remembered, in milliseconds of a channel's log time (rule D3).
///
/// The same number as the horizon of the acceptance rule; the persister checks that they agree when it is compiled.
pub const HORIZON_MS: i64 = 600_000;
