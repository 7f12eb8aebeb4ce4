//! What a driver's state wants to have sent, and when it wants to be woken for it.

use std::time::Instant;

use super::Driver;
use crate::outbox::Outbox;
use crate::publish::Identity;
use crate::requests::Purpose;
use crate::socket::request;
use crate::subscriptions::Sub;

/// Messages packed into one frame; the server takes 256 KiB.
const FRAME_BYTES: usize = 128 * 1024;

impl Driver {
    /// Everything that may be sent now, as one frame.
    pub(super) fn outgoing(&mut self, now: Instant) -> Option<String> {
        let mut frame = String::new();
        for channel in std::mem::take(&mut self.to_unsubscribe) {
            let id = self.requests.sent(Purpose::Unsubscribe);
            let params = serde_json::json!({ "channel": channel });
            push(
                &mut frame,
                &request(&id, "unsubscribe", &params.to_string()),
            );
        }
        for (channel, sub) in &mut self.subs {
            if sub.not_before.is_some_and(|at| at <= now) {
                sub.not_before = None;
                self.to_subscribe.push(channel.clone());
            }
        }
        while self.requests.room() && frame.len() < FRAME_BYTES {
            let Some(channel) = self.to_subscribe.pop() else {
                break;
            };
            let Some(sub) = self.subs.get_mut(&channel) else {
                continue;
            };
            let (params, id) = (sub.params(), sub.id);
            let id = self.requests.sent(Purpose::Subscribe { channel, id });
            push(&mut frame, &request(&id, "subscribe", &params));
        }
        for (channel, sub) in &mut self.subs {
            if let Some(cursor) = sub.take_ack(now) {
                let params = serde_json::json!({ "channel": channel, "cursor": cursor });
                push(
                    &mut frame,
                    &format!(r#"{{"type":"request","method":"ack","params":{params}}}"#),
                );
            }
        }
        while self.requests.room() && frame.len() < FRAME_BYTES {
            let Some(call) = self.requests.next_call(now) else {
                break;
            };
            let (method, params) = (call.method, call.params.clone());
            let id = self.requests.sent(Purpose::Call(call));
            push(&mut frame, &request(&id, method, &params));
        }
        self.outgoing_records(&mut frame, now);
        (!frame.is_empty()).then_some(frame)
    }

    /// Records of outboxes, one of each in turn, so that none waits behind another.
    fn outgoing_records(&mut self, frame: &mut String, now: Instant) {
        loop {
            let mut any = false;
            for (key, outbox) in &mut self.outboxes {
                if !self.requests.room() || frame.len() >= FRAME_BYTES {
                    return;
                }
                let Some(send) = outbox.next_send(now) else {
                    continue;
                };
                let (seq, round) = (send.seq, send.round);
                let mut publish = send.item.publish.clone();
                publish.identity = Some(Identity {
                    producer: key.producer.clone(),
                    epoch: key.epoch,
                    seq,
                });
                let id = self.requests.sent(Purpose::Outbox {
                    key: key.clone(),
                    seq,
                    round,
                });
                push(frame, &request(&id, "publish", &publish.to_json()));
                any = true;
            }
            if !any {
                return;
            }
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let outboxes = self.outboxes.values().filter_map(Outbox::wake_at);
        let subs = self.subs.values().filter_map(Sub::wake_at);
        outboxes.chain(subs).chain(self.requests.wake_at()).min()
    }
}

fn push(frame: &mut String, message: &str) {
    if !frame.is_empty() {
        frame.push('\n');
    }
    frame.push_str(message);
}
