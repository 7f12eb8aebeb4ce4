//! The persister against a real PostgreSQL: on the embedded log, and once more on Kafka.
//!
//! An instance of a test is the same `run` as in production, on a runtime of its own, so that it can also be killed.
#![allow(clippy::unwrap_used)]

mod bed;
mod kafka;
mod outage;
mod retention;
mod rows;
mod schema;
mod sharing;
mod snapshots;
