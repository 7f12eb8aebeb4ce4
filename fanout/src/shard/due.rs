//! What time does to one connection, and when it does so next. Pure.

use std::time::{Duration, Instant};

use protocol::close;

use super::{
    conn::{Conn, Phase, Wire},
    out::REASON_MAX,
};
use crate::{node::Node, pipe::Form};

/// A comment keeps proxies from cutting a quiet event stream.
const COMMENT_AFTER: Duration = Duration::from_secs(12);
/// Tokens expire by the wall clock, which may be set: nothing is put off for longer.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// What is due at a connection.
pub(super) enum Due {
    Forget,
    Close(u16, String),
    Expired,
    Unauthenticated,
    TellExpiring(i64),
    Heartbeat,
    Comment,
}

/// What a look at a connection finds.
pub(super) enum Look {
    Due(Due),
    /// Nothing before this, unless something happens at the connection.
    QuietUntil(Instant),
}

/// Asks one rule after the other, and remembers when the first of those that are not due will be.
struct Rules {
    now: Instant,
    next: Instant,
}

impl Rules {
    fn is_due(&mut self, at: Instant) -> bool {
        self.next = self.next.min(at);
        at <= self.now
    }
}

impl Node {
    pub(super) fn look(&self, conn: &Conn, now: Instant, now_ms: i64) -> Look {
        let next = now + QUIET_MAX;
        let mut rules = Rules { now, next };
        match self.due(conn, &mut rules, now_ms) {
            Some(due) => Look::Due(due),
            None => Look::QuietUntil(rules.next),
        }
    }

    fn due(&self, conn: &Conn, rules: &mut Rules, now_ms: i64) -> Option<Due> {
        let limits = &self.limits;
        if let Phase::Closing(until) = conn.phase {
            return rules.is_due(until).then_some(Due::Forget);
        }
        let Some(who) = &conn.who else {
            let late = rules.is_due(conn.opened + limits.authentication_timeout);
            return late.then_some(Due::Unauthenticated);
        };
        if let Some(since) = conn.stuck_since
            && rules.is_due(since + limits.stuck_timeout)
        {
            return Some(Due::Close(close::READS_NOTHING, self.where_it_stands(conn)));
        }
        let now = rules.now;
        let in_ms = |ms: i64| now + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let left_ms = who.expires_at_ms.saturating_sub(now_ms);
        if rules.is_due(in_ms(left_ms)) {
            return Some(Due::Expired);
        }
        // While something is owed, the stuck timer alone judges: who reads nothing cannot answer pings either.
        let owed = conn.stuck_since.is_some();
        let websocket = matches!(conn.wire, Wire::Ws(_));
        if websocket && !owed && rules.is_due(conn.heard + limits.heartbeat_timeout) {
            return Some(Due::Forget);
        }
        let warned_ms = left_ms.saturating_sub(limits.expiry_warning.as_millis() as i64);
        if !conn.told_expiring && rules.is_due(in_ms(warned_ms)) {
            return Some(Due::TellExpiring(who.expires_at_ms));
        }
        if owed {
            return None;
        }
        let interval = limits.heartbeat_interval;
        let beat = match conn.form() {
            Some(_) => conn.beat + interval,
            // A reader that only listens must be asked whether it lives, however much is sent to it.
            None => conn.beat.max(conn.heard.min(conn.spoke)) + interval,
        };
        if rules.is_due(beat) {
            return Some(Due::Heartbeat);
        }
        let comment = conn.form() == Some(Form::Sse) && rules.is_due(conn.spoke + COMMENT_AFTER);
        comment.then_some(Due::Comment)
    }

    /// The cursor of a stuck connection: from there its subscriptions go on behind what was written to it. Empty where
    /// none has begun, and for more of them than the reason of a close holds.
    fn where_it_stands(&self, conn: &Conn) -> String {
        let places = conn.places().into_iter();
        let places: Vec<_> = places
            .map(|(channel, next)| {
                let place = self.directory.durable(&channel);
                (channel, self.directory.position(&place, next))
            })
            .collect();
        if places.is_empty() {
            return String::new();
        }
        let cursor = self.tiers.framer.cursors.encode_stream(&places);
        if cursor.len() > REASON_MAX {
            return String::new();
        }
        cursor
    }
}
