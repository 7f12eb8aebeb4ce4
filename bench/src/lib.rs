//! The benchmark: load, scenarios, the yardsticks they are measured against, and the peers.
//!
//! The servers under test are processes on a processor of their own; everything else is on another. Every run is checked
//! for loss, doubles, order and agreement on the order, and says nothing when anything is wrong.
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod dialect;
mod interrupt;
pub mod keeper;
pub mod load;
mod lock;
pub mod machine;
pub mod order;
mod panics;
pub mod payload;
pub mod peers;
pub mod relay;
pub mod report;
pub mod results;
pub mod scenario;
pub mod ws;
