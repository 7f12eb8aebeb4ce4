//! One client of the load.

use std::collections::VecDeque;
use std::io::{self, Write};

use mio::net::TcpStream;

use crate::dialect::{Dialect, Who};
use crate::order::Position;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The upgrade has been asked for.
    Upgrading,
    /// It speaks WebSocket, and waits to be in.
    Joining,
    /// It is in.
    Joined,
}

/// A connection and what it has got.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: TcpStream,
    pub(super) who: Who,
    pub(super) group: usize,
    pub(super) position: Position,
    pub(super) stage: Stage,
    /// Subscriptions that do not stand yet.
    pub(super) joining: u32,
    /// False for one that lets its socket fill up.
    pub(super) reading: bool,
    pub(super) dirty: bool,
    /// When it was opened, for the time until it was in.
    pub(super) opened_ns: u64,
    /// The beginning of a frame, or of the answer to the upgrade.
    pub(super) partial: Vec<u8>,
    /// What the dialect keeps.
    pub(super) rest: Vec<u8>,
    pub(super) out: Vec<u8>,
    /// When each publish was due that has no answer yet.
    pub(super) waiting: VecDeque<u64>,
}

impl Conn {
    pub(super) fn open(
        dialect: &dyn Dialect,
        who: Who,
        group: usize,
        position: Position,
    ) -> io::Result<Conn> {
        let socket = TcpStream::connect(dialect.address())?;
        let out = dialect.upgrade(&who);
        let joining = if who.member { who.channels } else { 1 };
        Ok(Conn {
            socket,
            who,
            group,
            position,
            stage: Stage::Upgrading,
            joining,
            reading: true,
            dirty: false,
            opened_ns: 0,
            partial: Vec::new(),
            rest: Vec::new(),
            out,
            waiting: VecDeque::new(),
        })
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(error)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::NotConnected]
                        .contains(&error.kind()) =>
                {
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..written);
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        Ok(())
    }
}
