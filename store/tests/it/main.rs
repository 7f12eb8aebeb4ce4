//! The store against a real PostgreSQL: every test has a database of its own.
#![allow(clippy::unwrap_used)]

mod analyst;
mod cancelled;
mod checkpoint;
mod days;
mod deliveries;
mod history;
mod leases;
mod migrations;
mod rebuild;
mod sample;
mod snapshots;
mod write;
