//! Acknowledgements of subscriptions, and the cursors that are kept for them.

use std::sync::Arc;

use protocol::{Position, ProtocolError};
use schemas::Channel;
use serde_json::json;

use super::Shard;
use crate::{
    kept::{Acked, Asker},
    start::begin_at,
    sub::{ConnKey, Mode, Sub, SubKey},
};

impl Shard {
    /// `ack`: opens the window, and is kept when the subscription has a name. With an id it is answered when the log
    /// has it.
    pub(super) fn ack(&mut self, index: usize, id: Option<&str>, channel: &Channel, cursor: &str) {
        let refused = match self.acknowledge(index, id, channel, cursor) {
            Ok(Acked::Coming) => return,
            Ok(Acked::Already) => return self.respond(index, id, &json!({})),
            Err(error) => error,
        };
        self.refuse(index, id, Some(channel.as_str()), &refused);
    }

    fn acknowledge(
        &mut self,
        index: usize,
        id: Option<&str>,
        channel: &Channel,
        cursor: &str,
    ) -> Result<Acked, ProtocolError> {
        let node = Arc::clone(&self.node);
        let key = self.conns[index].key(index);
        let sub = self.conns[index]
            .sub_of(channel)
            .ok_or_else(ProtocolError::cursor)?;
        let position = node.tiers.framer.cursors.decode(&sub.channel, cursor)?;
        let place = node.directory.durable(&sub.channel);
        if position != node.directory.position(&place, position.next) || position.next > sub.next {
            return Err(ProtocolError::cursor());
        }
        let serial = sub.serial;
        let acked = if sub.durable.is_some() {
            self.keep(key, serial, position, id)?
        } else {
            Acked::Already
        };
        let Some(sub) = self.conns[index].sub(serial) else {
            return Ok(acked);
        };
        // Ahead of what was delivered it is not: that was looked at before it was kept.
        if sub.ack(position.next).is_ok() && sub.mode == Mode::Ready {
            self.hungry.push(key);
        }
        Ok(acked)
    }

    fn keep(
        &mut self,
        key: ConnKey,
        serial: u64,
        position: Position,
        id: Option<&str>,
    ) -> Result<Acked, ProtocolError> {
        if id.is_some() {
            self.may_wait(key.index)?;
        }
        let (mailbox, now_ms) = (Arc::clone(&self.mailbox), self.now_ms);
        let conn = &mut self.conns[key.index];
        let Some(sub) = conn.sub(serial) else {
            return Ok(Acked::Already);
        };
        let who = id.map(|id| Asker::Request {
            mailbox,
            conn: key,
            id: id.to_owned(),
            channel: sub.asked.clone(),
        });
        let acked = match &sub.durable {
            Some(watch) => watch.ack(position, now_ms, who),
            None => Ok(Acked::Already),
        };
        if id.is_some() && acked != Ok(Acked::Coming) {
            conn.waiting = conn.waiting.saturating_sub(1);
        }
        acked
    }

    /// A subscription with a name first asks where it stands; it begins when the answer comes.
    pub(super) fn ask_kept(&mut self, index: usize, mut sub: Sub) -> Result<Sub, ProtocolError> {
        let conn = &mut self.conns[index];
        let key = SubKey {
            conn: conn.key(index),
            serial: sub.serial,
        };
        let Some(watch) = &sub.durable else {
            return Ok(sub);
        };
        // Replacing a subscription again and again must not fill the room of all others.
        let max = self.node.limits.subscriptions_max;
        if usize::from(conn.asking) >= max {
            return Err(ProtocolError::limit("requests", max));
        }
        watch.ask(&self.mailbox, key)?;
        conn.asking += 1;
        sub.mode = Mode::Asking;
        self.seat(&mut sub, key);
        Ok(sub)
    }

    /// A subscription with a name and a window hears of acknowledgements that come other ways.
    pub(super) fn seat(&self, sub: &mut Sub, key: SubKey) {
        if let (Some(watch), Some(_)) = (&sub.durable, &sub.window)
            && let Some(known) = watch.sit(&self.mailbox, key)
        {
            self.acked_to(sub, known);
        }
    }

    /// The answer to [`Shard::ask_kept`].
    pub(super) fn kept(&mut self, key: SubKey, found: Result<Option<Position>, ProtocolError>) {
        let node = Arc::clone(&self.node);
        let Some(conn) = self.conn(key.conn) else {
            return;
        };
        conn.asking = conn.asking.saturating_sub(1);
        let Some(sub) = conn.sub(key.serial).filter(|s| s.mode == Mode::Asking) else {
            return;
        };
        let begun = match (found, sub.opening.take()) {
            (Ok(Some(kept)), Some(mut opening)) => {
                let begun = begin_at(&node, sub, &mut opening.start, kept);
                sub.opening = Some(opening);
                begun
            }
            (found, opening) => {
                sub.opening = opening;
                found.map(|_| ())
            }
        };
        match begun {
            Ok(()) => {
                sub.mode = Mode::Ready;
                self.hungry.push(key.conn);
            }
            Err(error) => self.refused(key, &error),
        }
    }

    /// Somebody has acknowledged this far under the subscription's name.
    pub(super) fn acked(&mut self, key: SubKey, position: Position) {
        let node = Arc::clone(&self.node);
        let Some(sub) = self.conn(key.conn).and_then(|c| c.sub(key.serial)) else {
            return;
        };
        if node.is_present(&sub.channel, position) {
            sub.acked_elsewhere(position.next);
            if sub.mode == Mode::Ready {
                self.hungry.push(key.conn);
            }
        }
    }

    fn acked_to(&self, sub: &mut Sub, position: Position) {
        if self.node.is_present(&sub.channel, position) {
            sub.acked_elsewhere(position.next);
        }
    }
}
