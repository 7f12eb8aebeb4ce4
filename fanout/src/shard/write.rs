//! What goes out: queued during a round, written once at its end, and the two ways a connection ends.

use bytes::Bytes;

use super::{GOODBYE, Shard, conn::Phase, conn::Wire, out::Flushed, out::close_frame};
use crate::sub::Mode;

impl Shard {
    /// Queues one message of ours; line or block, as the wire needs it.
    pub(super) fn say(&mut self, index: usize, message: impl Into<Bytes>) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        if conn.is_open() {
            conn.out.push(message.into());
            self.mark(index);
        }
    }

    pub(super) fn mark(&mut self, index: usize) {
        if let Some(conn) = self.conns.get_mut(index)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(index);
        }
    }

    /// Writes what is queued. When everything went out, what waited for room may go on.
    pub(super) fn flush(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        conn.dirty = false;
        let before = conn.out.bytes();
        let flushed = match &mut conn.wire {
            Wire::Ws(ws) => match conn.out.flush(&mut ws.socket, &mut self.write_buffer) {
                Ok(flushed) => flushed,
                Err(_) => return self.forget(index),
            },
            Wire::Http { pipe, .. } => {
                let mut room = pipe.has_room();
                let mut progress = false;
                while room {
                    let mut bytes = 0;
                    let out = &mut conn.out;
                    pipe.push(std::iter::from_fn(|| {
                        (bytes < 16 * 1024)
                            .then(|| out.take())
                            .flatten()
                            .inspect(|m| bytes += m.len())
                    }));
                    if bytes == 0 {
                        break;
                    }
                    progress = true;
                    room = pipe.has_room();
                }
                if conn.out.bytes() == 0 {
                    Flushed::Empty
                } else {
                    Flushed::Blocked { progress }
                }
            }
        };
        self.node
            .metrics
            .written_bytes
            .inc_by(before.saturating_sub(conn.out.bytes()) as u64);
        match flushed {
            Flushed::Empty => {
                if before > 0 {
                    conn.spoke = self.now;
                }
                conn.stuck_since = None;
                if !conn.is_open()
                    && let Wire::Ws(ws) = &conn.wire
                {
                    ws.end_if_broken();
                }
                if !conn.is_open() && (conn.answered || matches!(conn.wire, Wire::Http { .. })) {
                    return self.forget(index);
                }
                let conflated: Vec<_> = conn.unconflate().collect();
                let hungry = conn
                    .subs
                    .iter()
                    .any(|s| s.mode == Mode::Ready)
                    .then(|| conn.key(index));
                for (event, line) in conflated {
                    self.push_event(index, &event, line, None);
                }
                self.hungry.extend(hungry);
            }
            Flushed::Blocked { progress } => {
                if progress || conn.stuck_since.is_none() {
                    conn.stuck_since = Some(self.now);
                }
                if progress {
                    conn.spoke = self.now;
                }
            }
        }
    }

    /// Says goodbye: nothing is read any more, and the socket is dropped when the client has answered or in 5 s.
    pub(super) fn close(&mut self, index: usize, code: u16, reason: &str) {
        self.drop_subs(index);
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        if !conn.is_open() {
            return;
        }
        conn.phase = Phase::Closing(self.now + GOODBYE);
        if let Wire::Ws(_) = &conn.wire {
            conn.out.finish(close_frame(code, reason));
        }
        self.mark(index);
    }

    /// The connection is over.
    pub(super) fn forget(&mut self, index: usize) {
        self.drop_subs(index);
        let Some(mut conn) = self.conns.try_remove(index) else {
            return;
        };
        self.awaited.remove(&conn.serial);
        match &mut conn.wire {
            Wire::Ws(ws) => {
                drop(self.poll.registry().deregister(&mut ws.socket));
                self.node.metrics.websockets.dec();
            }
            Wire::Http { pipe, .. } => {
                pipe.finish();
                self.node.metrics.streams.dec();
            }
        }
    }
}
