//! What a driver's handles ask for.

use super::{Driver, Over, Record};
use crate::client::State;
use crate::commands::Command;
use crate::error::Error;
use crate::outbox::Outbox;
use crate::requests::{Call, OutboxKey};
use crate::subscriptions::Sub;

impl Driver {
    pub(super) fn command(&mut self, command: Option<Command>) -> Result<(), Over> {
        match command {
            None => return Err(Over::Closed),
            Some(Command::Close { reply }) => {
                self.closing = Some(reply);
                return Err(Over::Closed);
            }
            Some(Command::Subscribe {
                id,
                request,
                items,
                reply,
            }) => {
                let channel = request.channel.clone();
                self.to_subscribe.push(channel.clone());
                self.subs
                    .insert(channel, Sub::new(id, request, items, reply));
            }
            Some(Command::Unsubscribe { id, channel }) => self.unsubscribe(&channel, id),
            Some(Command::Ack {
                id,
                channel,
                cursor,
            }) => {
                if let Some(sub) = self.subs.get_mut(&channel).filter(|sub| sub.id == id) {
                    sub.acknowledge(&cursor);
                }
            }
            Some(Command::Request {
                method,
                params,
                again,
                deadline,
                reply,
            }) => {
                self.requests
                    .enqueue(Call::new(method, params, again, deadline, reply));
            }
            Some(Command::Outbox {
                producer,
                epoch,
                publish,
                reply,
            }) => {
                let key = OutboxKey {
                    producer,
                    epoch,
                    channel: publish.channel.clone(),
                };
                let limit = self.options.outbox_max;
                let outbox = self
                    .outboxes
                    .entry(key)
                    .or_insert_with(|| Outbox::new(0, limit));
                if let Err(record) = outbox.push(Record { publish, reply }) {
                    let _ = record.reply.send(Err(Error::Full));
                }
            }
        }
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, channel: &str, id: u64) {
        if self.subs.get(channel).is_some_and(|sub| sub.id == id) {
            self.subs.remove(channel);
            if matches!(*self.state.borrow(), State::Connected(_)) {
                self.to_unsubscribe.push(channel.to_owned());
            }
        }
    }
}
