//! What is said to clients: cursors, messages in both directions, errors, tokens, rights and limits.
//!
//! Pure: no clock, no socket, no thread. Time comes in as an argument, bytes come in and go out.
//! Text from a client enters through [`client`], leaves towards it through [`server`]; a token
//! becomes an [`Identity`] in [`token`], and [`access`] says what that identity may do.

#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
mod bucket;
pub mod client;
pub mod close;
mod cursor;
mod errors;
#[cfg(test)]
mod golden;
mod identity;
mod limits;
pub mod server;
pub mod token;

pub use bucket::{Bucket, Rate};
pub use cursor::{CursorInvalid, Cursors, Position};
pub use errors::{ErrorName, ProtocolError, REGISTRY};
pub use identity::{Capability, Caps, Identity, Role, Roles};
pub use limits::Limits;
