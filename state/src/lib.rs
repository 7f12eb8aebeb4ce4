//! What a channel's events add up to: the acceptance rule (D3), the chain of events, jobs.
//!
//! Pure folds: the same prefix of the log gives the same state on every node. Time comes from the
//! log, never from a clock.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod acceptance;
mod channel;
pub mod job;
#[cfg(test)]
mod tests;

pub use acceptance::{Acceptance, HORIZON_MS, IdState, ProducerState, Verdict, Void};
pub use channel::{ChannelState, Judged};
