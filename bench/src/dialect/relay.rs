//! The reference servers: whatever a frame holds goes to everybody in the room.

use std::net::SocketAddr;

use super::{Dialect, Heard, Who};
use crate::ws;

/// Speaks to [`crate::relay`].
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Dialect for Relay {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn upgrade(&self, who: &Who) -> Vec<u8> {
        let door = if who.member { "r" } else { "p" };
        ws::upgrade(&format!("/{door}/{}", who.channel), "")
    }

    fn join(&self, _: &Who, _: &mut Vec<u8>) {}

    fn joined_by_upgrade(&self, _: &Who) -> bool {
        true
    }

    fn hear(&self, frame: &[u8], _: &mut Vec<u8>, told: &mut dyn FnMut(Heard<'_>)) {
        told(Heard::Event {
            payload: frame,
            message: frame,
        });
    }

    fn publish(&self, _: &Who, payload: &[u8], out: &mut Vec<u8>) {
        ws::write(ws::TEXT, payload, out);
    }
}
