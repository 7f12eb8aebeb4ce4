//! How events reach connections: shared bytes into each listener's queue, and what happens when one is full.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use protocol::server;
use schemas::Channel;

use super::{Shard, conn::Conn, conn::Wire, out::Owed};
use crate::{
    event::{Delivered, sse_block},
    pipe::Form,
    pull::Command,
    sub::{Mode, Offer, Sub, SubKey},
};

impl Shard {
    /// An event of the hub, for every listed subscription of the channel.
    pub(super) fn broadcast(&mut self, channel: &Channel, event: &Arc<Delivered>) {
        let Some(listeners) = self.live.remove(channel) else {
            return;
        };
        for &key in &listeners {
            self.offer(key, channel, event);
        }
        self.live.insert(channel.clone(), listeners);
    }

    fn offer(&mut self, key: SubKey, channel: &Channel, event: &Arc<Delivered>) {
        let queue_max =
            service::planted!("queue_dropped", 4_096 => self.node.limits.queue_bytes_max);
        let Some(conn) = self.conn(key.conn).filter(|c| c.is_open()) else {
            return;
        };
        let blocked = conn.out.is_blocked();
        let full = conn.out.bytes() + event.line().len() > queue_max;
        let Some(sub) = conn.sub(key.serial) else {
            return;
        };
        if event.is_ephemeral() {
            let behind = !matches!(sub.mode, Mode::Live | Mode::Paused);
            match (sub.wanted.passes(event), blocked || behind) {
                (false, _) => {}
                (true, true) => conn.conflate(channel, event),
                (true, false) => self.push_event(key.conn.index, event, None, None),
            }
            return;
        }
        match sub.offer(event, full) {
            Offer::Deliver => self.push_durable(key, event),
            Offer::Pass => {}
            Offer::Lag => {
                let lagging = server::lagging(sub.asked.as_str());
                self.node.metrics.lagged.inc();
                self.say_event(key.conn.index, "lagging", lagging, None);
            }
        }
    }

    /// Queues an event of a subscription.
    pub(super) fn push_durable(&mut self, key: SubKey, event: &Arc<Delivered>) {
        let owed = Owed {
            sub: key.serial,
            from: Some(event.offset),
        };
        self.push_event(key.conn.index, event, None, Some(owed));
    }

    /// Queues an event in the form the connection's wire speaks; `line` instead of the shared one when given.
    pub(super) fn push_event(
        &mut self,
        index: usize,
        event: &Arc<Delivered>,
        line: Option<Bytes>,
        owed: Option<Owed>,
    ) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        let bytes = match (conn.form(), line) {
            (None | Some(Form::Lines), Some(line)) => line,
            (None | Some(Form::Lines), None) => event.line().clone(),
            (Some(Form::Sse), None) if conn.subs.len() == 1 && !event.is_ephemeral() => {
                event.sse().clone()
            }
            (Some(Form::Sse), line) => {
                let id = self.stream_cursor(index);
                let json = line.as_ref().map_or(event.json(), |l| &l[..l.len() - 1]);
                sse_block(id.as_deref(), &event.name, json)
            }
        };
        let conn = &mut self.conns[index];
        conn.out.push(bytes);
        if let Some(owed) = owed {
            conn.out.owe(owed);
        }
        self.node.metrics.delivered.inc();
        self.mark(index);
    }

    /// Queues one of our own messages: a line, or on SSE a block with the id `id`.
    pub(super) fn say_event(&mut self, index: usize, name: &str, json: Vec<u8>, id: Option<&str>) {
        let Some(conn) = self.conns.get(index) else {
            return;
        };
        let bytes = match conn.form() {
            Some(Form::Sse) => sse_block(id, name, &json),
            _ => line_of(json),
        };
        self.say(index, bytes);
    }

    /// The message that was queued last belongs to the subscription, which goes on from `from` without it.
    pub(super) fn owe(&mut self, key: SubKey, from: Option<i64>) {
        if let Some(conn) = self.conn(key.conn) {
            conn.out.owe(Owed {
                sub: key.serial,
                from,
            });
        }
    }

    /// The positions of all channels of a streamed answer.
    pub(super) fn stream_cursor(&self, index: usize) -> Option<String> {
        let conn = self.conns.get(index)?;
        let directory = &self.node.directory;
        let entries: Vec<_> = conn
            .subs
            .iter()
            .map(|sub| {
                (
                    sub.channel.clone(),
                    directory.position(&directory.durable(&sub.channel), sub.next),
                )
            })
            .collect();
        Some(self.node.tiers.framer.cursors.encode_stream(&entries))
    }

    /// A subscription that is live from now on. The hub has attached it once more: once is enough.
    pub(super) fn enliven(&mut self, key: SubKey) {
        let Some(conn) = self.conns.get_mut(key.conn.index) else {
            return;
        };
        let Some(sub) = conn.sub(key.serial) else {
            return;
        };
        sub.mode = Mode::Live;
        if sub.slot.is_some() {
            let channel = sub.channel.clone();
            return self.detach(channel);
        }
        let list = self.live.entry(sub.channel.clone()).or_default();
        sub.slot = Some(list.len());
        list.push(key);
    }

    fn delist(&mut self, channel: &Channel, slot: usize) {
        let Some(list) = self.live.get_mut(channel) else {
            return;
        };
        list.swap_remove(slot);
        let moved = list.get(slot).copied();
        if list.is_empty() {
            self.live.remove(channel);
        }
        if let Some(moved) = moved
            && let Some(sub) = self.conn(moved.conn).and_then(|c| c.sub(moved.serial))
        {
            sub.slot = Some(slot);
        }
    }

    /// One subscription fewer listens to the channel.
    pub(super) fn detach(&mut self, channel: Channel) {
        let shard = self.mailbox.shard();
        let hub = self.node.hub_of(&channel);
        self.command(hub, Command::Detach { channel, shard });
    }

    /// Tells a hub; what it cannot take now is kept and told in order.
    pub(super) fn command(&mut self, hub: usize, command: Command) {
        if !self.unsent.is_empty() {
            self.unsent.push_back((hub, command));
        } else if let Err(error) = self.node.hubs[hub].try_send(command) {
            self.unsent.push_back((hub, error.into_inner()));
        }
    }

    /// The hub dropped the channel: its listeners go on from where they are.
    pub(super) fn cut(&mut self, channel: &Channel) {
        for key in self.live.remove(channel).unwrap_or_default() {
            if let Some(sub) = self.conn(key.conn).and_then(|c| c.sub(key.serial)) {
                sub.slot = None;
                if sub.mode == Mode::Live {
                    sub.mode = Mode::Ready;
                    self.hungry.push(key.conn);
                }
            }
        }
    }

    /// Tells who listens whether the node has everything of these channels.
    pub(super) fn stale(&mut self, channels: &[Channel], since: Option<Duration>) {
        let now_ms = self.now_ms;
        for channel in channels {
            for key in self.live.get(channel).cloned().unwrap_or_default() {
                let Some(sub) = self.conn(key.conn).and_then(|c| c.sub(key.serial)) else {
                    continue;
                };
                let asked = sub.asked.as_str();
                let (name, json) = match since {
                    Some(since) => {
                        let since_ms = now_ms.saturating_sub_unsigned(since.as_millis() as u64);
                        ("stale", server::stale(asked, since_ms, now_ms))
                    }
                    None => ("fresh", server::fresh(asked, now_ms)),
                };
                let id = self.stream_cursor(key.conn.index);
                self.say_event(key.conn.index, name, json, id.as_deref());
            }
        }
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn drop_subs(&mut self, index: usize) {
        // One after the other: those that are left must be found when the list of their channel closes ranks.
        while let Some(sub) = self.conns.get_mut(index).and_then(|c| c.subs.pop()) {
            self.end(sub);
        }
    }

    /// A subscription that was taken out of its connection.
    pub(super) fn end(&mut self, sub: Sub) {
        self.node.metrics.subscriptions.dec();
        if let Some(slot) = sub.slot {
            self.delist(&sub.channel, slot);
            self.detach(sub.channel);
        }
    }
}

/// A message of ours as a line.
pub(super) fn line_of(mut json: Vec<u8>) -> Bytes {
    json.push(b'\n');
    Bytes::from(json)
}

/// Whether the connection speaks WebSocket.
pub(super) fn is_websocket(conn: &Conn) -> bool {
    matches!(conn.wire, Wire::Ws(_))
}
