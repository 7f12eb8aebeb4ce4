//! The whole of Rivermouth: real processes on real Kafka and PostgreSQL, judged by a checker of their own.
// A test is one future with its whole world inside; nobody spawns thousands of them.
#![allow(clippy::unwrap_used, clippy::large_futures, missing_docs)]

mod away;
mod bad;
mod bad_entry;
mod bad_http;
mod bad_socket;
mod broker;
mod closed;
mod crash;
mod crowd;
mod dev;
mod disconnects;
mod drain;
mod durable;
mod edge;
mod erased;
mod insisting;
mod leaving;
mod load;
mod lost;
mod passing;
mod planted;
mod poison;
mod producers;
mod raw;
mod retention;
mod seam;
mod signals;
mod slow;
mod snapshot;
mod stale;
mod tail;
mod talk;
mod traffic;
mod transactions;
mod walk;
mod ways;
mod wide;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_rivermouth");
