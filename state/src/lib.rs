//! What a channel's events add up to: the acceptance rule (D3), the chain of events, and the channel's state.
//!
//! Pure folds: the same prefix of the log gives the same state on every node. Time comes from the
//! log, never from a clock.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod acceptance;
mod channel;
mod fold;
pub mod job;
#[cfg(test)]
mod tests;

pub use acceptance::{Acceptance, HORIZON_MS, IdState, ProducerState, Verdict, Void};
pub use channel::{ChannelState, Judged};
pub use fold::{Effect, Entry, Fold, JobFold, Saved, Unreadable};
