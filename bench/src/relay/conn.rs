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

/// A client's frame, unmasked, and the bytes it took; none while it is not complete.
pub(super) fn unmask(bytes: &[u8], into: &mut Vec<u8>) -> Option<(u8, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (length, head) = match second & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(*rest.first_chunk::<2>()?)),
            4,
        ),
        127 => (u64::from_be_bytes(*rest.first_chunk::<8>()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let mask = bytes.get(head..head + 4)?;
    let payload = bytes.get(head + 4..head + 4 + length)?;
    into.clear();
    into.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    Some((first & 0x0f, head + 4 + length))
}

/// Appends a server's text frame.
pub(super) fn frame(payload: &[u8], into: &mut Vec<u8>) {
    into.push(0x81);
    match payload.len() {
        short @ 0..=125 => into.push(short as u8),
        middle @ 126..=0xffff => {
            into.push(126);
            into.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            into.push(127);
            into.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(payload);
}
