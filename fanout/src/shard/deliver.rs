//! How events reach connections: shared bytes into each listener's queue, and what happens when one is full.

use std::sync::Arc;

use bytes::Bytes;
use protocol::server;
use schemas::Channel;

use super::{Shard, conn::Conn, conn::Wire};
use crate::{
    event::{Delivered, sse_block},
    pipe::Form,
    pull::Command,
    sub::{Mode, Step, Sub, SubKey},
};

impl Shard {
    /// An event of the hub, for every live subscription of the channel.
    pub(super) fn broadcast(&mut self, channel: &Channel, event: &Arc<Delivered>) {
        let Some(listeners) = self.live.remove(channel) else {
            return;
        };
        let mut left = Vec::new();
        for &key in &listeners {
            if !self.offer(key, channel, event) {
                left.push(key);
            }
        }
        self.live.insert(channel.clone(), listeners);
        for key in left {
            self.unlive(key);
        }
    }

    /// Offers an event to a live subscription; `false` when it can take no more for now.
    fn offer(&mut self, key: SubKey, channel: &Channel, event: &Arc<Delivered>) -> bool {
        let queue_max = self.node.limits.queue_bytes_max;
        let Some(conn) = self
            .conns
            .get_mut(key.conn.index)
            .filter(|c| c.serial == key.conn.serial)
        else {
            return true;
        };
        if !conn.is_open() {
            return true;
        }
        if event.is_ephemeral() && conn.out.is_blocked() {
            if conn.sub(key.serial).is_some_and(|s| s.wanted.passes(event)) {
                conn.conflate(channel, event);
            }
            return true;
        }
        let full = conn.out.bytes() + event.line().len() > queue_max;
        let Some(sub) = conn.subs.iter_mut().find(|s| s.serial == key.serial) else {
            return true;
        };
        if full && !event.is_ephemeral() {
            if event.offset < sub.next || !sub.wanted.passes(event) {
                sub.next = sub.next.max(event.offset + 1);
                return true;
            }
            // Drop the queue's growth, not the event: it is read again from the log when there is room (D9).
            sub.next = event.offset;
            sub.mode = Mode::Ready;
            sub.announce = true;
            let lagging = server::lagging(sub.asked.as_str());
            self.node.metrics.lagged.inc();
            self.say_event(key.conn.index, "lagging", lagging, None);
            return false;
        }
        match sub.step(event) {
            Step::Deliver => self.push_event(key.conn.index, event, None),
            Step::Pass => {}
            Step::Full => {
                sub.mode = Mode::Paused;
                return false;
            }
        }
        true
    }

    /// Queues an event in the form the connection's wire speaks; `line` instead of the shared one when given.
    pub(super) fn push_event(&mut self, index: usize, event: &Arc<Delivered>, line: Option<Bytes>) {
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
        self.say_raw(index, bytes);
    }

    fn say_raw(&mut self, index: usize, bytes: Bytes) {
        self.say(index, bytes);
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

    /// A subscription that is live from now on.
    pub(super) fn enliven(&mut self, key: SubKey) {
        let Some(conn) = self.conns.get_mut(key.conn.index) else {
            return;
        };
        let Some(sub) = conn.sub(key.serial) else {
            return;
        };
        let list = self.live.entry(sub.channel.clone()).or_default();
        sub.mode = Mode::Live;
        sub.slot = list.len();
        list.push(key);
    }

    /// Takes a subscription that has stopped being live out of the channel's list, and tells the hub.
    pub(super) fn unlive(&mut self, key: SubKey) {
        let Some(sub) = self.conn(key.conn).and_then(|c| c.sub(key.serial)) else {
            return;
        };
        let (channel, slot) = (sub.channel.clone(), sub.slot);
        self.delist(&channel, slot);
        self.detach(channel);
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
            sub.slot = slot;
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
                sub.mode = Mode::Ready;
                self.hungry.push(key.conn);
            }
        }
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn drop_subs(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        for sub in std::mem::take(&mut conn.subs) {
            self.end(sub);
        }
    }

    /// A subscription that was taken out of its connection.
    pub(super) fn end(&mut self, sub: Sub) {
        self.node.metrics.subscriptions.dec();
        if sub.mode == Mode::Live {
            self.delist(&sub.channel, sub.slot);
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
