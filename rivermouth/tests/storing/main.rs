//! The tables under a bad database: real processes, real Kafka, and a PostgreSQL that is cut, locked, stopped, filled up
//! and killed. Afterwards the tables are what Kafka holds, byte for byte, and so are their digests.
#![allow(clippy::unwrap_used, clippy::large_futures, missing_docs)]

mod away;
mod commit;
mod copies;
mod poured;
mod rebuild;
mod restart;
mod useless;

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_rivermouth");
