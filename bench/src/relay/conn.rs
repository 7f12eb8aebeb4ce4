//! One connection of a relay.

use std::io::{self, Write};

use mio::net::TcpStream;

/// A client that has asked for more than this without reading it is cut off.
const QUEUED_MAX: usize = 64 << 20;

/// A client of the relay.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: TcpStream,
    /// The room whose members get what it sends; none before the upgrade.
    pub(super) room: Option<u32>,
    pub(super) dirty: bool,
    pub(super) partial: Vec<u8>,
    out: Vec<u8>,
}

impl Conn {
    pub(super) fn new(socket: TcpStream) -> Conn {
        Conn {
            socket,
            room: None,
            dirty: false,
            partial: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// False when the connection is over.
    pub(super) fn flush(&mut self) -> bool {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return false,
            }
        }
        self.out.drain(..written);
        self.out.len() <= QUEUED_MAX
    }
}
