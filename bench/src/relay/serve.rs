//! The relay's loop.

use std::collections::HashMap;
use std::io::{self, Read};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::Manner;
use super::conn::Conn;
use crate::ws;

const LISTENER: Token = Token(usize::MAX);
/// The answer to the one key that the load's clients send (RFC 6455, section 1.3).
const ACCEPTED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const READ_MAX: usize = 64 << 10;

/// Serves until the process is killed.
pub fn serve(listener: std::net::TcpListener, manner: Manner) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay {
        manner,
        poll,
        listener,
        conns: Slab::new(),
        rooms: HashMap::new(),
        dirty: Vec::new(),
        scratch: vec![0; READ_MAX],
        payload: Vec::new(),
        framed: Vec::new(),
    };
    let mut events = Events::with_capacity(1024);
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                relay.accept()?;
                continue;
            }
            let id = event.token().0;
            if event.is_writable() {
                relay.flush(id);
            }
            if event.is_readable() || event.is_read_closed() {
                relay.read(id);
            }
        }
        for id in std::mem::take(&mut relay.dirty) {
            relay.flush(id);
        }
    }
}

struct Relay {
    manner: Manner,
    poll: Poll,
    listener: TcpListener,
    conns: Slab<Conn>,
    rooms: HashMap<u32, Vec<usize>>,
    dirty: Vec<usize>,
    scratch: Vec<u8>,
    payload: Vec<u8>,
    framed: Vec<u8>,
}

impl Relay {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut socket, _)) => {
                    socket.set_nodelay(true)?;
                    let entry = self.conns.vacant_entry();
                    let token = Token(entry.key());
                    let both = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut socket, token, both)?;
                    entry.insert(Conn::new(socket));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, id: usize) {
        loop {
            let Some(conn) = self.conns.get_mut(id) else {
                return;
            };
            let length = match conn.socket.read(&mut self.scratch) {
                Ok(0) => return self.drop_conn(id),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.drop_conn(id),
            };
            let mut bytes = std::mem::take(&mut conn.partial);
            if bytes.is_empty() {
                let buffer = std::mem::take(&mut self.scratch);
                let taken = self.got(id, &buffer[..length]);
                self.keep(id, &buffer[taken..length]);
                self.scratch = buffer;
            } else {
                bytes.extend_from_slice(&self.scratch[..length]);
                let taken = self.got(id, &bytes);
                self.keep(id, &bytes[taken..]);
            }
            if length < READ_MAX {
                return;
            }
        }
    }

    fn keep(&mut self, id: usize, rest: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id).filter(|_| !rest.is_empty()) {
            conn.partial = rest.to_vec();
        }
    }

    /// Takes what is complete; how much that was.
    fn got(&mut self, id: usize, bytes: &[u8]) -> usize {
        let Some(conn) = self.conns.get_mut(id) else {
            return bytes.len();
        };
        let Some(room) = conn.room else {
            return self.upgrade(id, bytes);
        };
        let mut taken = 0;
        let mut payload = std::mem::take(&mut self.payload);
        while let Some((opcode, length)) = ws::unmask(&bytes[taken..], &mut payload) {
            taken += length;
            match opcode {
                1 | 2 => self.relay(room, &payload),
                8 => {
                    self.drop_conn(id);
                    break;
                }
                _ => {}
            }
        }
        self.payload = payload;
        taken
    }

    /// `GET /r/<room>` is a member, `GET /p/<room>` only sends.
    fn upgrade(&mut self, id: usize, bytes: &[u8]) -> usize {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return 0;
        };
        let path = bytes.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let path = std::str::from_utf8(path).unwrap_or_default();
        let member = path.starts_with("/r/");
        let Some(room) = path.get(3..).and_then(|room| room.parse().ok()) else {
            self.drop_conn(id);
            return bytes.len();
        };
        if let Some(conn) = self.conns.get_mut(id) {
            conn.room = Some(room);
            conn.push(ACCEPTED);
            if member {
                self.rooms.entry(room).or_default().push(id);
            }
            self.mark(id);
        }
        end + 4
    }

    fn relay(&mut self, room: u32, payload: &[u8]) {
        self.framed.clear();
        ws::write_unmasked(payload, &mut self.framed);
        let Some(members) = self.rooms.get(&room) else {
            return;
        };
        for &member in members {
            let Some(conn) = self.conns.get_mut(member) else {
                continue;
            };
            conn.push(&self.framed);
            match self.manner {
                // A connection that breaks is noticed when it is read.
                Manner::Each => _ = conn.flush(),
                Manner::Coalesce if conn.dirty => {}
                Manner::Coalesce => {
                    conn.dirty = true;
                    self.dirty.push(member);
                }
            }
        }
    }

    fn mark(&mut self, id: usize) {
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    fn flush(&mut self, id: usize) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.dirty = false;
        if !conn.flush() {
            self.drop_conn(id);
        }
    }

    fn drop_conn(&mut self, id: usize) {
        let Some(mut conn) = self.conns.try_remove(id) else {
            return;
        };
        let _ = self.poll.registry().deregister(&mut conn.socket);
        if let Some(members) = conn.room.and_then(|room| self.rooms.get_mut(&room)) {
            members.retain(|member| *member != id);
        }
    }
}
