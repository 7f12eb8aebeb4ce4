//! `rivermouth-torture`: clients and backends that write everything down, faults that come by a seeded schedule,
//! and a judge that reads the log and the tables by itself and compares.
//!
//! A world of real processes is started ([`testbed`]), actors publish and read, faults are injected, everything
//! heals, and the judge gets what everybody wrote down. It is a tool of the tests and is not shipped.
// The tool of a test: what cannot be done ends it there and then.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod actors;
pub mod check;
pub mod evidence;
pub mod faults;
pub mod page;
pub mod run;
pub mod schedule;
mod settle;
pub mod tally;
pub mod workload;
pub mod world;
