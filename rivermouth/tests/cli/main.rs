//! The program as a person at a terminal meets it: refusals, help, secrets, and a first run of `dev`.
//!
//! Needs PostgreSQL's server programs and nothing that listens.
#![allow(clippy::unwrap_used)]

mod dev;
mod refusals;
mod terminal;
