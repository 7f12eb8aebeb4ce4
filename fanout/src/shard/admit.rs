//! Who a connection is and what it may subscribe to: `connect`, `refresh`, `subscribe`.

use std::sync::Arc;

use protocol::{Identity, ProtocolError, access::may_read, client, close, server, token::Use};
use serde_json::json;

use super::{Shard, deliver::line_of};
use crate::{
    mailbox::Sugar,
    start,
    sub::{ConnKey, Opening, Sub},
};

impl Shard {
    pub(super) fn connect(&mut self, key: ConnKey, id: Option<String>, token: &str) {
        let index = key.index;
        let sugar = self.awaited.remove(&key.serial);
        match self
            .node
            .verifier
            .verify(token, self.now_ms, Use::Connection)
        {
            Ok(identity) => {
                self.conns[index].who = Some(Arc::new(identity));
                self.greet(index);
                if let Some(id) = id {
                    let data = self.hello(index, None, |hello| hello.data());
                    self.say(index, line_of(server::response_raw(&id, &data)));
                }
                if let Some(sugar) = sugar {
                    self.sweeten(index, sugar);
                }
            }
            Err(error) => {
                let message = server::error(id.as_deref(), None, &error, self.now_ms);
                self.say(index, line_of(message));
                self.close(
                    index,
                    error.name.close_code().unwrap_or(close::AUTH),
                    error.name.as_str(),
                );
            }
        }
    }

    /// The subscription that the path makes.
    pub(super) fn sweeten(&mut self, index: usize, sugar: Sugar) {
        match sugar.subscribe {
            Ok(subscribe) => self.subscribe(index, None, *subscribe),
            Err(error) => {
                self.refuse(index, None, Some(&sugar.channel), &error);
                self.close(index, close::SUBSCRIPTION_REFUSED, error.name.as_str());
            }
        }
    }

    /// `connected`, the first thing anybody is told.
    pub(super) fn greet(&mut self, index: usize) {
        let cursor = match self.conns[index].form() {
            Some(_) => self.stream_cursor(index),
            None => None,
        };
        let message = self.hello(index, cursor.as_deref(), server::connected);
        self.say_event(index, "connected", message, cursor.as_deref());
    }

    pub(super) fn hello(
        &self,
        index: usize,
        cursor: Option<&str>,
        make: impl Fn(&server::Connected<'_>) -> Vec<u8>,
    ) -> Vec<u8> {
        let conn = &self.conns[index];
        let limits = &self.node.limits;
        make(&server::Connected {
            connection_id: &conn.id,
            user_id: conn.who.as_ref().map_or("", |who| &who.sub),
            node: &self.node.name,
            heartbeat_interval_ms: limits.heartbeat_interval.as_millis() as u64,
            heartbeat_timeout_ms: limits.heartbeat_timeout.as_millis() as u64,
            message_bytes_max: limits.message_bytes_max,
            expires_at_ms: conn.who.as_ref().map_or(0, |who| who.expires_at_ms),
            now_ms: self.now_ms,
            cursor,
        })
    }

    /// A newer token of the same user: its rights count at once.
    pub(super) fn refresh(&mut self, index: usize, id: Option<&str>, token: &str) {
        let verified = self
            .node
            .verifier
            .verify(token, self.now_ms, Use::Connection);
        let who = match verified {
            Ok(who)
                if self.conns[index]
                    .who
                    .as_ref()
                    .is_some_and(|old| old.sub == who.sub) =>
            {
                Arc::new(who)
            }
            Ok(_) => {
                return self.refuse(
                    index,
                    id,
                    None,
                    &ProtocolError::denied("the token is another user's"),
                );
            }
            Err(error) => return self.refuse(index, id, None, &error),
        };
        let conn = &mut self.conns[index];
        conn.who = Some(Arc::clone(&who));
        conn.told_expiring = false;
        let lost: Vec<_> = conn
            .subs
            .iter()
            .filter_map(|sub| {
                let error = may_read(&self.node.namespaces, &who, &sub.asked).err()?;
                Some((sub.serial, sub.asked.clone(), error))
            })
            .collect();
        self.respond(index, id, &json!({ "expiresAt": who.expires_at_ms }));
        for (serial, channel, error) in lost {
            self.remove_sub(index, serial);
            self.refuse(index, None, Some(channel.as_str()), &error);
        }
    }

    pub(super) fn subscribe(
        &mut self,
        index: usize,
        id: Option<String>,
        subscribe: client::Subscribe,
    ) {
        let Some(who) = self.conns[index].who.clone() else {
            return;
        };
        let channel = subscribe.channel.clone();
        let sub = self
            .new_sub(index, &who, subscribe, id.clone())
            .and_then(|sub| self.ask_kept(index, sub));
        match sub {
            Ok(sub) => {
                if let Some(serial) = self.conns[index].sub_of(&channel).map(|s| s.serial) {
                    self.remove_sub(index, serial);
                }
                let key = self.conns[index].key(index);
                self.conns[index].subs.push(sub);
                self.node.metrics.subscriptions.inc();
                self.hungry.push(key);
            }
            Err(error) => {
                let sugar = id.is_none();
                self.refuse(index, id.as_deref(), Some(channel.as_str()), &error);
                if sugar {
                    self.close(index, close::SUBSCRIPTION_REFUSED, error.name.as_str());
                }
            }
        }
    }

    pub(super) fn new_sub(
        &mut self,
        index: usize,
        who: &Arc<Identity>,
        subscribe: client::Subscribe,
        request: Option<String>,
    ) -> Result<Sub, ProtocolError> {
        let read = may_read(&self.node.namespaces, who, &subscribe.channel)?;
        let conn = &mut self.conns[index];
        let max = self.node.limits.subscriptions_max;
        if conn.subs.len() >= max && conn.sub_of(&subscribe.channel).is_none() {
            return Err(ProtocolError::limit("subscriptions", max));
        }
        let prepared = start::prepare(&self.node, who, read, subscribe)?;
        self.serials += 1;
        Ok(Sub {
            serial: self.serials,
            opening: Some(Box::new(Opening {
                start: prepared.start,
                request,
            })),
            ..prepared.sub
        })
    }
}
