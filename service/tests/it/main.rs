//! The listener, the admin port and the registry client over real sockets.
#![allow(clippy::unwrap_used)]

mod admin;
mod listener;
mod registry;
mod world;
