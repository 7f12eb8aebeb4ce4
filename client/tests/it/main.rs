//! The client against a scripted server: what a real one does rarely, this one does on purpose.
#![allow(clippy::unwrap_used, missing_docs)]

mod outbox;
mod resume;
mod script;
