//! Fan-out through its real port, on the embedded log, without a store: what the log holds is what clients get.
#![allow(clippy::unwrap_used)]

mod cursors;
mod flow;
mod kept;
mod life;
mod snapshot;
mod streams;
mod stuck;
mod subscribe;
mod world;
