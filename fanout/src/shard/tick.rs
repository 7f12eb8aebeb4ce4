//! What time does to connections, looked at twice a second for all of them: silence, expiry, stuck readers, goodbyes.

use std::time::{Duration, Instant};

use protocol::{ErrorName, ProtocolError, close, server};

use super::{
    Shard,
    conn::{Conn, Wire},
    deliver::is_websocket,
    due::{Due, Look},
    out::PING,
};
use crate::sub::Mode;

/// Over how many milliseconds clients spread their return after all of them were sent away at once.
const RETURN_WITHIN_MS: &str = "30000";

/// Closing everything, wave by wave.
#[derive(Debug)]
pub(super) struct Drain {
    spread_ms: u64,
    ends: Instant,
}

impl Shard {
    pub(super) fn tick(&mut self) {
        let mut due = Vec::new();
        let (node, hungry, now_ms) = (&self.node, &mut self.hungry, self.now_ms);
        self.conns.look(self.now, |index, conn| {
            for sub in &mut conn.subs {
                if sub.mode == Mode::Waiting {
                    sub.mode = Mode::Ready;
                }
            }
            if conn.subs.iter().any(|s| s.mode == Mode::Ready) {
                hungry.push(conn.key(index));
            }
            match node.look(conn, self.now, now_ms) {
                Look::QuietUntil(next) => next,
                Look::Due(what) => {
                    due.push((index, what));
                    self.now
                }
            }
        });
        for (index, what) in due {
            self.do_due(index, what);
        }
        self.drain_wave();
    }

    fn do_due(&mut self, index: usize, what: Due) {
        match what {
            Due::Forget => {
                if let Some(conn) = self.conns.get(index)
                    && let (Wire::Ws(ws), true) = (&conn.wire, conn.out.bytes() > 0)
                {
                    ws.reset();
                }
                self.forget(index);
            }
            Due::Close(code, reason) => {
                if let Some(conn) = self.conns.get_mut(index) {
                    // It reads nothing: what is queued would never go out before the close.
                    conn.out.clear();
                }
                self.node.metrics.stuck.inc();
                self.close(index, code, &reason);
                if self.conns.get(index).is_some_and(|c| !is_websocket(c)) {
                    self.forget(index);
                }
            }
            Due::Expired => {
                let error = ProtocolError::new(ErrorName::TokenExpired, "the token has expired");
                self.dismiss(index, &error, close::EXPIRED);
            }
            Due::Unauthenticated => {
                let error = ProtocolError::new(ErrorName::AuthRequired, "no token came in time");
                self.dismiss(index, &error, close::AUTH);
            }
            Due::TellExpiring(at_ms) => {
                if let Some(conn) = self.conns.get_mut(index) {
                    conn.told_expiring = true;
                }
                let id = self.stream_cursor(index);
                self.say_event(
                    index,
                    "token_expiring",
                    server::token_expiring(at_ms),
                    id.as_deref(),
                );
            }
            Due::Heartbeat => {
                let cursor = match self.conns.get(index).and_then(Conn::form) {
                    Some(_) => self.stream_cursor(index),
                    None => None,
                };
                if let Some(conn) = self.conns.get_mut(index) {
                    conn.beat = self.now;
                    if is_websocket(conn) {
                        conn.out.push_control(&PING);
                    }
                }
                let beat = server::heartbeat(self.now_ms, cursor.as_deref());
                self.say_event(index, "heartbeat", beat, cursor.as_deref());
            }
            Due::Comment => self.say(index, bytes::Bytes::from_static(b":\n\n")),
        }
    }

    /// Says why, then closes.
    pub(super) fn dismiss(&mut self, index: usize, error: &ProtocolError, code: u16) {
        let message = server::error(None, None, error, self.now_ms);
        let id = self
            .conns
            .get(index)
            .and_then(Conn::form)
            .and_then(|_| self.stream_cursor(index));
        self.say_event(index, "error", message, id.as_deref());
        self.close(index, code, error.name.as_str());
    }

    /// A topic is not the pinned one: everybody is told so and comes back, here or elsewhere, in a while.
    pub(super) fn dismiss_all(&mut self) {
        let error = crate::chunk::moved();
        let open: Vec<usize> = self
            .conns
            .iter()
            .filter(|(_, c)| c.is_open())
            .map(|(i, _)| i)
            .collect();
        for index in open {
            let message = server::error(None, None, &error, self.now_ms);
            self.say_event(index, "error", message, None);
            self.close(index, close::DRAINING, RETURN_WITHIN_MS);
        }
    }

    pub(super) fn begin_drain(&mut self, spread_ms: u64) {
        let ends = self.now + Duration::from_millis(spread_ms);
        self.drain = Some(Drain { spread_ms, ends });
        self.drain_wave();
    }

    /// Closes as many as the time that has passed asks for, so that clients come back elsewhere spread over time.
    fn drain_wave(&mut self) {
        let Some(drain) = &self.drain else { return };
        let spread_ms = drain.spread_ms;
        let open: Vec<usize> = self
            .conns
            .iter()
            .filter(|(_, c)| c.is_open())
            .map(|(i, _)| i)
            .collect();
        let left = drain.ends.saturating_duration_since(self.now);
        let waves = (left.as_millis() / super::TICK.as_millis()) as usize + 1;
        for index in open.iter().copied().take(open.len().div_ceil(waves)) {
            self.close(index, close::DRAINING, &spread_ms.to_string());
        }
    }
}
