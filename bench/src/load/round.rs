//! One turn of the load: what sockets have, what it means, and what is answered.

use std::io::{self, Read};
use std::rc::Rc;

use super::conn::Stage;
use super::{Id, Load, READ_MAX, TIMER};
use crate::dialect::Heard;
use crate::interrupt;
use crate::payload::Mark;
use crate::ws::{self, Answer, Kind};

impl Load {
    /// Waits at most until `at_ns`, then reads and writes whatever is possible.
    pub(super) fn turn(&mut self, at_ns: u64) -> anyhow::Result<()> {
        interrupt::check()?;
        self.flush_all();
        self.wait(at_ns)?;
        let events = std::mem::replace(&mut self.events, mio::Events::with_capacity(0));
        for event in &events {
            if event.token() == TIMER {
                let _ = nix::unistd::read(&self.timer, &mut [0; 8]);
                continue;
            }
            let id = event.token().0;
            if event.is_writable() {
                self.flush(id);
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(id);
            }
        }
        self.events = events;
        self.flush_all();
        Ok(())
    }

    /// Marks a client that has something to say.
    pub(super) fn mark(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    fn flush_all(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            self.flush(id);
        }
    }

    fn flush(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.dirty = false;
        if let Err(error) = conn.flush() {
            self.lost(id, &error.to_string());
        }
    }

    fn lost(&mut self, id: Id, why: &str) {
        self.drop_conn(id);
        self.complain(format!("client {id}: {why}"));
    }

    /// Reads until there is no more.
    pub(super) fn read(&mut self, id: Id) {
        loop {
            let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.reading) else {
                return;
            };
            match conn.socket.read(&mut self.scratch) {
                Ok(0) => return self.lost(id, "the server ended the connection"),
                Ok(length) => {
                    self.counts.reads += 1;
                    self.counts.bytes += length as u64;
                    let buffer = std::mem::take(&mut self.scratch);
                    let fine = self.got(id, &buffer[..length]);
                    self.scratch = buffer;
                    if let Err(why) = fine {
                        return self.lost(id, &why);
                    }
                    // A short read has emptied the socket; what comes later rings again.
                    if length < READ_MAX {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lost(id, &error.to_string()),
            }
        }
    }

    fn got(&mut self, id: Id, bytes: &[u8]) -> Result<(), String> {
        let conn = &mut self.conns[id];
        if conn.partial.is_empty() {
            let taken = self.take(id, bytes)?;
            if taken < bytes.len() {
                self.conns[id].partial = bytes[taken..].to_vec();
            }
            return Ok(());
        }
        let mut partial = std::mem::take(&mut conn.partial);
        partial.extend_from_slice(bytes);
        let taken = self.take(id, &partial)?;
        partial.drain(..taken);
        self.conns[id].partial = partial;
        Ok(())
    }

    /// Takes what is complete at the beginning of `bytes`; how much that was.
    fn take(&mut self, id: Id, bytes: &[u8]) -> Result<usize, String> {
        let mut taken = 0;
        if self.conns[id].stage == Stage::Upgrading {
            match ws::answer(bytes) {
                Answer::Unfinished => return Ok(0),
                Answer::Refused(line) => return Err(format!("refused: {line}")),
                Answer::Accepted(length) => taken = length,
            }
            self.upgraded(id);
        }
        let now = self.now_ns();
        while let Some(frame) = ws::frame(&bytes[taken..])? {
            taken += frame.length;
            match frame.kind {
                Kind::Data => self.hear(id, frame.payload, now),
                Kind::Ping => {
                    ws::write(ws::PONG, frame.payload, &mut self.conns[id].out);
                    self.mark(id);
                }
                Kind::Pong => {}
                Kind::Close => {
                    let said = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
                    return Err(format!("the server closed: {said}"));
                }
            }
        }
        Ok(taken)
    }

    fn upgraded(&mut self, id: Id) {
        let conn = &mut self.conns[id];
        conn.stage = Stage::Joining;
        self.dialect.join(&conn.who, &mut conn.out);
        if self.dialect.joined_by_upgrade(&conn.who) {
            self.joined(id);
        }
        self.mark(id);
    }

    fn joined(&mut self, id: Id) {
        let conn = &mut self.conns[id];
        conn.joining = conn.joining.saturating_sub(1);
        if conn.stage == Stage::Joining && conn.joining == 0 {
            conn.stage = Stage::Joined;
            self.counts.joined += 1;
        }
    }

    fn hear(&mut self, id: Id, frame: &[u8], now: u64) {
        let mut rest = std::mem::take(&mut self.conns[id].rest);
        let dialect = Rc::clone(&self.dialect);
        dialect.hear(frame, &mut rest, &mut |heard| match heard {
            Heard::Event { payload, message } => self.event(id, payload, message, now),
            Heard::Joined => {
                self.joined(id);
            }
            Heard::Acknowledged => self.acknowledged(id, now),
            Heard::Reply(bytes) => {
                self.conns[id].out.extend_from_slice(bytes);
                self.mark(id);
            }
            Heard::Level | Heard::Nothing => {}
            Heard::Complaint(text) => {
                let text = String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned();
                self.complain(text);
            }
        });
        self.conns[id].rest = rest;
    }

    fn event(&mut self, id: Id, payload: &[u8], message: &[u8], now: u64) {
        let Some(mark) = Mark::read(payload) else {
            let text = String::from_utf8_lossy(&payload[..payload.len().min(100)]).into_owned();
            return self.complain(format!("no payload of ours: {text}"));
        };
        let conn = &mut self.conns[id];
        let group = &mut self.groups[conn.group];
        let before = conn.position;
        let counts = &mut self.counts;
        let last = group
            .order
            .received(&mut conn.position, mark, &mut counts.wrong);
        if conn.position == before {
            return;
        }
        let waited = now.saturating_sub(mark.due_ns);
        counts.deliveries += 1;
        // What was due before the measurement is not of it.
        let counted = mark.due_ns >= self.since_ns;
        if counted {
            counts.latency.saturating_record(waited);
        }
        if last && counted {
            counts.last.saturating_record(waited);
        }
        if last && self.keep_newest {
            group.newest = Some(message.to_vec());
        }
    }

    /// The oldest publish of a client that asks for answers is safe.
    fn acknowledged(&mut self, id: Id, now: u64) {
        let conn = &mut self.conns[id];
        let Some(due) = conn.waiting.pop_front() else {
            return self.complain("an answer to nothing".to_owned());
        };
        self.counts.acknowledged += 1;
        self.counts.last.saturating_record(now.saturating_sub(due));
    }
}
