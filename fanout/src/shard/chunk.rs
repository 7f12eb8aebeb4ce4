//! Pulls and what they bring: the answer to a subscription, a gap, events, and the step from backlog to live.

use std::sync::Arc;

use protocol::{ErrorName, ProtocolError, close, server};
use tokio::time::Instant;

use super::{Shard, deliver::is_websocket, deliver::line_of};
use crate::{
    chunk::{Chunk, Room, State},
    mailbox::Mailbox,
    pull::{Command, Pull, Reply, Want},
    sub::{ConnKey, From, Mode, Opening, Step, Sub, SubKey},
};

/// Bytes of one pull: several may be under way at once within the connection's bound.
const PULL_BYTES: usize = 48 * 1024;
/// Pulls of one connection at the same time.
const PULLS_MAX: u8 = 4;
/// With less than this queued, a connection pulls more.
const HUNGRY_BELOW: usize = 64 * 1024;

impl Shard {
    /// Starts the pulls that the connection has room for.
    pub(super) fn feed(&mut self, key: ConnKey) {
        loop {
            let mailbox = Arc::clone(&self.mailbox);
            let Some(conn) = self.conn(key) else { return };
            if !conn.is_open() || conn.pulling >= PULLS_MAX || conn.out.bytes() >= HUNGRY_BELOW {
                return;
            }
            // Subscriptions that catch up take turns.
            let count = conn.subs.len();
            let mut turns = (0..count).map(|i| (conn.turn + i) % count);
            let Some(at) = turns.find(|&i| conn.subs[i].mode == Mode::Ready) else {
                return;
            };
            conn.turn = at + 1;
            conn.pulling += 1;
            let sub = &mut conn.subs[at];
            sub.mode = Mode::Pulling;
            let sub_key = SubKey {
                conn: key,
                serial: sub.serial,
            };
            let pull = pull_for(sub, mailbox, sub_key);
            let hub = self.node.hub_of(&pull.channel);
            self.command(hub, Command::Pull(pull));
        }
    }

    /// A pull is answered.
    pub(super) fn pulled(&mut self, key: SubKey, pulled: Result<Box<Chunk>, ProtocolError>) {
        if let Some(conn) = self.conn(key.conn) {
            conn.pulling = conn.pulling.saturating_sub(1);
            self.hungry.push(key.conn);
        }
        let known = self
            .conn(key.conn)
            .is_some_and(|c| c.is_open() && c.sub(key.serial).is_some());
        match pulled {
            Ok(chunk) if known => self.take(key, *chunk),
            // The subscription ended meanwhile; if the hub attached it, it is detached again. Which channel that was
            // only the chunk's events or the hub know, so the chunk carries it.
            Ok(chunk) if chunk.live => self.detach(chunk.channel),
            Ok(_) => {}
            Err(error) if known => self.refused(key, &error),
            Err(_) => {}
        }
    }

    fn take(&mut self, key: SubKey, chunk: Chunk) {
        let index = key.conn.index;
        let Some(sub) = self.conns[index].sub(key.serial) else {
            return;
        };
        let opening = sub.opening.take();
        sub.begin(&chunk, opening.is_some());
        if let Some(opening) = opening {
            let outlived = opening.start.outlived.clone();
            let lost = chunk.gap.is_some() || outlived.is_some();
            self.answer_subscription(key, *opening, &chunk, !lost);
            if let Some(from) = outlived {
                let to = self.cursor_of(key, chunk.start);
                self.tell_gap(key, Some(from), to, server::GapReason::Epoch);
                self.owe(key, None);
            }
        }
        if let Some(gap) = chunk.gap {
            let (from, to) = (self.cursor_of(key, gap.from), self.cursor_of(key, gap.to));
            self.tell_gap(key, from, to, gap.reason);
            self.owe(key, Some(gap.from));
        }
        if let Some(state) = &chunk.state {
            self.tell_state(key, state);
        }
        for event in &chunk.events {
            let Some(sub) = self.conns[index].sub(key.serial) else {
                return;
            };
            match sub.step(event) {
                Step::Deliver => self.push_durable(key, event),
                Step::Pass => {}
                Step::Full => {
                    sub.mode = Mode::Paused;
                    if chunk.live {
                        self.detach(chunk.channel);
                    }
                    return;
                }
            }
        }
        let Some(sub) = self.conns[index].sub(key.serial) else {
            return;
        };
        sub.next = sub.next.max(chunk.next);
        if !chunk.live {
            sub.mode = Mode::Ready;
            return;
        }
        if std::mem::take(&mut sub.announce) {
            let (asked, next) = (sub.asked.clone(), sub.next);
            let cursor = self.cursor_of(key, next).unwrap_or_default();
            let id = self.stream_cursor(index);
            self.say_event(
                index,
                "caught_up",
                server::caught_up(asked.as_str(), &cursor),
                id.as_deref(),
            );
        }
        self.enliven(key);
    }

    fn answer_subscription(
        &mut self,
        key: SubKey,
        opening: Opening,
        chunk: &Chunk,
        recovered: bool,
    ) {
        let index = key.conn.index;
        if !is_websocket(&self.conns[index]) {
            return;
        }
        let state = chunk.state.as_ref();
        let at = state.map_or(chunk.start, |state| state.at);
        let cursor = self.cursor_of(key, at).unwrap_or_default();
        let Some(sub) = self.conns[index].sub(key.serial) else {
            return;
        };
        let asked = sub.asked.clone();
        let data = server::subscription(&server::Subscription {
            channel: asked.as_str(),
            cursor: &cursor,
            recovered,
            was_recovering: opening.start.was_recovering,
            snapshot: state.map(|state| &*state.json),
        });
        let message = match opening.request {
            Some(id) => server::response_raw(&id, &data),
            None => server::subscribed(asked.as_str(), &data),
        };
        self.say(index, line_of(message));
        // A cursor from before the topic was made anew is none that this one could go on from.
        let outlived = opening.start.outlived.is_some();
        self.owe(key, (!outlived).then_some(chunk.start));
    }

    /// Streams have no response: the state is an event of its own, after what is gone and before what follows it.
    fn tell_state(&mut self, key: SubKey, state: &State) {
        let index = key.conn.index;
        if is_websocket(&self.conns[index]) {
            return;
        }
        let cursor = self.cursor_of(key, state.at).unwrap_or_default();
        let Some(sub) = self.conns[index].sub(key.serial) else {
            return;
        };
        let told = server::snapshot_event(sub.asked.as_str(), &cursor, &state.json);
        let id = self.stream_cursor(index);
        self.say_event(index, "snapshot", told, id.as_deref());
    }

    fn tell_gap(
        &mut self,
        key: SubKey,
        from: Option<String>,
        to: Option<String>,
        reason: server::GapReason,
    ) {
        service::planted!("gap_untold", { return });
        let Some(sub) = self.conns[key.conn.index].sub(key.serial) else {
            return;
        };
        let gap = server::gap(sub.asked.as_str(), from.as_deref(), to.as_deref(), reason);
        self.node.metrics.gaps.inc();
        self.say_event(key.conn.index, "gap", gap, None);
    }

    /// The cursor of a position in the subscription's channel.
    fn cursor_of(&mut self, key: SubKey, next: i64) -> Option<String> {
        let node = Arc::clone(&self.node);
        let sub = self.conn(key.conn)?.sub(key.serial)?;
        let place = node.directory.durable(&sub.channel);
        Some(node.tiers.framer.cursor(&sub.channel, &place, next))
    }

    /// A pull failed: a subscription that was not answered yet is refused; one that was tries again at the next tick.
    pub(super) fn refused(&mut self, key: SubKey, error: &ProtocolError) {
        let index = key.conn.index;
        let Some(sub) = self.conns[index].sub(key.serial) else {
            return;
        };
        if sub.opening.is_none() && error.name.retryable() {
            sub.mode = Mode::Waiting;
            return;
        }
        let asked = sub.asked.clone();
        let opening = sub.opening.take();
        // Only the subscription that a path made is the connection's whole purpose.
        let sugar = opening.as_ref().is_some_and(|o| o.request.is_none());
        let request = opening.and_then(|o| o.request);
        let message = server::error(request.as_deref(), Some(asked.as_str()), error, self.now_ms);
        self.remove_sub(index, key.serial);
        self.say_event(index, "error", message, None);
        if sugar && is_websocket(&self.conns[index]) {
            self.close(index, close::SUBSCRIPTION_REFUSED, error.name.as_str());
        } else if !is_websocket(&self.conns[index]) {
            self.close(index, close::INTERNAL, ErrorName::Internal.as_str());
        }
    }

    /// Ends one subscription.
    pub(super) fn remove_sub(&mut self, index: usize, serial: u64) {
        let subs = &mut self.conns[index].subs;
        if let Some(at) = subs.iter().position(|s| s.serial == serial) {
            let sub = subs.remove(at);
            self.end(sub);
        }
    }
}

fn pull_for(sub: &Sub, mailbox: Arc<Mailbox>, key: SubKey) -> Pull {
    let opening = sub.opening.as_deref();
    Pull {
        channel: sub.channel.clone(),
        from: opening.map_or(From::Next(sub.next), |o| o.start.from),
        want: opening.map_or(Want::Events, |o| o.start.want()),
        barrier: opening.is_some(),
        attach: Some(mailbox.shard()),
        park: false,
        owner: opening.and_then(|o| o.start.owner.clone()),
        wanted: sub.wanted.clone(),
        room: Room::of(PULL_BYTES),
        passing: false,
        asked: Instant::now(),
        reply: Reply::Shard { mailbox, sub: key },
    }
}
