//! The whole of Rivermouth: real processes on real Kafka and PostgreSQL, judged by a checker of their own.
// A test is one future with its whole world inside; nobody spawns thousands of them.
#![allow(clippy::unwrap_used, clippy::large_futures, missing_docs)]

mod bad;
mod bad_entry;
mod bad_http;
mod bad_socket;
mod broker;
mod crash;
mod dev;
mod disconnects;
mod drain;
mod erased;
mod load;
mod poison;
mod producers;
mod raw;
mod seam;
mod stale;
mod talk;
mod traffic;
mod walk;
mod wide;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_rivermouth");
