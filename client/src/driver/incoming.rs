//! What the server's messages change in a driver's state, and who is told.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::debug;

use super::{Driver, bump};
use crate::error::{Error, Refusal};
use crate::message::ServerMessage;
use crate::outbox::Refused;
use crate::requests::Purpose;
use crate::subscriptions::{Item, Judged};

impl Driver {
    pub(super) fn message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Event(event) => {
                let Some(sub) = self.subs.get_mut(&event.channel) else {
                    return;
                };
                let channel = event.channel.clone();
                match sub.event(event) {
                    Judged::Deliver(item) => {
                        bump(&self.counters.delivered);
                        self.deliver(&channel, item);
                    }
                    Judged::Drop => bump(&self.counters.repeated),
                    Judged::Refetch => {
                        bump(&self.counters.broken);
                        self.to_subscribe.push(channel);
                    }
                }
            }
            ServerMessage::Response { id, data } => {
                if let Some(purpose) = self.requests.answered(&id) {
                    self.succeeded(purpose, data);
                }
            }
            ServerMessage::Error {
                id: Some(id),
                refusal,
                ..
            } => {
                if let Some(purpose) = self.requests.answered(&id) {
                    self.refused(purpose, refusal);
                }
            }
            // Without an id it ends a subscription, when it names a channel: a revocation. One that may be repeated is
            // about an acknowledgement.
            ServerMessage::Error {
                id: None,
                channel: Some(channel),
                refusal,
            } => {
                let of_publish = refusal
                    .details
                    .as_ref()
                    .is_some_and(|details| details.get("publishId").is_some());
                if of_publish {
                    return;
                }
                if !refusal.retryable {
                    return self.end_subscription(&channel, Error::from(refusal));
                }
                if let Some(sub) = self.subs.get_mut(&channel) {
                    let wait = Duration::from_millis(refusal.retry_after_ms.unwrap_or(500));
                    sub.ack_refused(Instant::now() + wait);
                }
            }
            ServerMessage::CaughtUp { channel, cursor } => {
                let item = self
                    .subs
                    .get_mut(&channel)
                    .and_then(|sub| sub.caught_up(cursor));
                item.into_iter()
                    .for_each(|item| self.deliver(&channel, item));
            }
            ServerMessage::Gap { channel, gap } => {
                let item = self.subs.get_mut(&channel).and_then(|sub| sub.gap(gap));
                item.into_iter()
                    .for_each(|item| self.deliver(&channel, item));
            }
            ServerMessage::Lagging {
                channel: Some(channel),
            } => self.deliver(&channel, Item::Lagging),
            other => debug!(?other, "nothing to do"),
        }
    }

    fn succeeded(&mut self, purpose: Purpose, data: String) {
        match purpose {
            Purpose::Subscribe { channel, id } => {
                if let Some(sub) = self.subs.get_mut(&channel).filter(|sub| sub.id == id) {
                    let item = sub.responded(&data);
                    self.deliver(&channel, item);
                }
            }
            Purpose::Unsubscribe => {}
            Purpose::Call(call) => {
                let _ = call.reply.send(Ok(data));
            }
            Purpose::Outbox { key, seq, .. } => {
                if let Some(record) = self
                    .outboxes
                    .get_mut(&key)
                    .and_then(|outbox| outbox.succeeded(seq))
                {
                    let published = serde_json::from_str(&data);
                    let published = published
                        .map_err(|error| Error::Unexpected(format!("answer to publish: {error}")));
                    let _ = record.reply.send(published);
                }
            }
        }
    }

    fn refused(&mut self, purpose: Purpose, refusal: Refusal) {
        let now = Instant::now();
        match purpose {
            Purpose::Subscribe { channel, id } => {
                let Some(sub) = self.subs.get_mut(&channel).filter(|sub| sub.id == id) else {
                    return;
                };
                if refusal.retryable {
                    sub.not_before =
                        Some(now + Duration::from_millis(refusal.retry_after_ms.unwrap_or(500)));
                } else {
                    self.end_subscription(&channel, Error::from(refusal));
                }
            }
            Purpose::Unsubscribe => {}
            Purpose::Call(call) => self.requests.refused(call, refusal, now),
            Purpose::Outbox { key, seq, round } => {
                let Some(outbox) = self.outboxes.get_mut(&key) else {
                    return;
                };
                let failed = match outbox.refused(seq, round, &refusal, now) {
                    Refused::Again | Refused::Late => Vec::new(),
                    Refused::Dropped(record) => vec![record],
                    Refused::Stale(records) => records,
                };
                for record in failed {
                    let _ = record.reply.send(Err(Error::from(refusal.clone())));
                }
            }
        }
    }

    fn end_subscription(&mut self, channel: &str, error: Error) {
        if let Some((items, item)) = self.subs.remove(channel).and_then(|sub| sub.ended(error)) {
            self.hand_over(items, item);
        }
    }

    fn deliver(&mut self, channel: &str, item: Item) {
        let Some(sub) = self.subs.get(channel) else {
            return;
        };
        let (items, id) = (sub.items().clone(), sub.id);
        if items.is_closed() {
            return self.unsubscribe(channel, id);
        }
        self.hand_over(items, item);
    }

    fn hand_over(&mut self, items: mpsc::Sender<Item>, item: Item) {
        debug_assert!(
            self.stalled.is_none(),
            "nothing is read while an item waits"
        );
        if let Err(mpsc::error::TrySendError::Full(item)) = items.try_send(item) {
            self.stalled = Some((items, item));
        }
    }

    pub(super) fn unstall(&mut self) {
        if let Some((items, item)) = self.stalled.take() {
            self.hand_over(items, item);
        }
    }
}
