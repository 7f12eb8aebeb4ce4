//! The task behind a [`crate::Client`]: keeps a connection, resumes what was subscribed, repeats what was not
//! answered.
//!
//! Commands change the state, connected or not; [`Driver::outgoing`] says what the state wants to have sent;
//! the server's messages change the state again. Only the loops at the top touch the socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;
use tracing::debug;

use crate::backoff::{Backoff, fraction};
use crate::client::{Counters, Options, State};
use crate::commands::Command;
use crate::error::{Error, Refusal};
use crate::message::{Connected, ServerMessage};
use crate::outbox::{Outbox, Refused};
use crate::publish::{Identity, Publish, Published};
use crate::requests::{Call, OutboxKey, Purpose, Requests};
use crate::socket::{Credential, Socket, request};
use crate::subscriptions::{Item, Judged, Sub, Subs};

/// Messages packed into one frame; the server takes 256 KiB.
const FRAME_BYTES: usize = 128 * 1024;

/// How long a close may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A record of an outbox and who waits for it.
struct Record {
    publish: Publish,
    reply: oneshot::Sender<Result<Published, Error>>,
}

/// Why a connection, or the wait for one, is over.
enum Over {
    /// Make another one.
    Lost { why: Error, wait: Duration },
    /// Stop for good.
    Ended(Error),
    /// The owner closed it, or every handle is gone.
    Closed,
}

pub(crate) struct Driver {
    options: Options,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
    subs: Subs,
    requests: Requests,
    outboxes: HashMap<OutboxKey, Outbox<Record>>,
    /// Channels whose `subscribe` or `unsubscribe` has to be sent.
    to_subscribe: Vec<String>,
    to_unsubscribe: Vec<String>,
    /// An item whose reader's queue is full: until it is taken, nothing is read from the socket.
    stalled: Option<(mpsc::Sender<Item>, Item)>,
    /// Held until the driver ends: dropping it is the answer to `close`.
    closing: Option<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(
        options: Options,
        commands: mpsc::Receiver<Command>,
        state: watch::Sender<State>,
        counters: Arc<Counters>,
    ) -> Driver {
        Driver {
            options,
            commands,
            state,
            counters,
            subs: Subs::new(),
            requests: Requests::default(),
            outboxes: HashMap::new(),
            to_subscribe: Vec::new(),
            to_unsubscribe: Vec::new(),
            stalled: None,
            closing: None,
        }
    }

    /// Runs until closed or ended for good.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(self.options.backoff_first, self.options.backoff_most);
        let mut endpoint = 0;
        let mut last_token = None;
        let mut wait = Duration::ZERO;
        let over = loop {
            let token = (self.options.token)();
            let over = match self.connecting(endpoint, &token, wait).await {
                Ok((socket, connected)) => {
                    bump(&self.counters.connects);
                    let over = self.session(socket, connected, &mut backoff).await;
                    self.state.send_replace(State::Connecting);
                    over
                }
                Err(over) => over,
            };
            match over {
                Over::Lost { why, wait: asked } => {
                    debug!(%why, "connection lost");
                    self.lost(&why);
                    endpoint += 1;
                    // Another server may be tried at once; a round of all of them is paid for.
                    let free =
                        backoff.attempts() == 0 && endpoint % self.options.endpoints.len() != 0;
                    wait = asked
                        + if free {
                            Duration::ZERO
                        } else {
                            backoff.next_delay()
                        };
                }
                Over::Ended(error)
                    if error.is_expired_token() && last_token.as_ref() != Some(&token) =>
                {
                    self.lost(&error);
                    wait = Duration::ZERO;
                }
                over => break over,
            }
            last_token = Some(token);
        };
        let why = match over {
            Over::Ended(error) => error,
            Over::Lost { .. } | Over::Closed => Error::Closed,
        };
        self.end(why).await;
    }

    /// Waits, then connects, while commands are still heard.
    async fn connecting(
        &mut self,
        endpoint: usize,
        token: &str,
        wait: Duration,
    ) -> Result<(Socket, Connected), Over> {
        let endpoint = self.options.endpoints[endpoint % self.options.endpoints.len()].clone();
        let credential = Credential::Subprotocol(token.to_owned());
        let options = self.options.socket.clone();
        let opening = async move {
            tokio::time::sleep(wait).await;
            Socket::open(&endpoint, "/ws", &credential, &options).await
        };
        tokio::pin!(opening);
        loop {
            let wake = self.wake_at();
            tokio::select! {
                opened = &mut opening => return opened.map_err(|error| match error {
                    Error::Lost(_) | Error::Timeout(_) => Over::Lost { why: error, wait: Duration::ZERO },
                    Error::Refused(ref refusal) if refusal.retryable => {
                        let wait = error.retry_after().unwrap_or_default();
                        Over::Lost { why: error, wait }
                    }
                    error => Over::Ended(error),
                }),
                command = self.commands.recv() => self.command(command)?,
                () = at(wake) => self.requests.expire(Instant::now(), self.options.request_timeout),
            }
        }
    }

    /// One connection's life.
    async fn session(
        &mut self,
        mut socket: Socket,
        connected: Connected,
        backoff: &mut Backoff,
    ) -> Over {
        let silence = Duration::from_millis(match connected.heartbeat_timeout {
            0 => 60_000,
            ms => ms,
        });
        self.state.send_replace(State::Connected(connected));
        self.to_subscribe = self.subs.keys().cloned().collect();
        loop {
            if let Some(text) = self.outgoing(Instant::now())
                && let Err(why) = socket.send(text).await
            {
                return Over::Lost {
                    why,
                    wait: Duration::ZERO,
                };
            }
            let dead = socket.last_read() + silence;
            let wake = self.wake_at().map_or(dead, |wake| wake.min(dead));
            let stalled = self.stalled.as_ref().map(|(items, _)| items.clone());
            let reading = stalled.is_none();
            tokio::select! {
                message = socket.next(), if reading => match message {
                    Ok(message) => {
                        backoff.reset();
                        self.message(message);
                    }
                    // One bad message is no reason to lose the others.
                    Err(Error::Unexpected(what)) => debug!(what, "a message was skipped"),
                    Err(ended @ Error::Ended { .. }) => return Over::Ended(ended),
                    Err(why) => return Over::Lost { wait: spread(&socket), why },
                },
                () = room(stalled), if !reading => self.unstall(),
                command = self.commands.recv() => if let Err(over) = self.command(command) {
                    socket.close(CLOSE_PATIENCE).await;
                    return over;
                },
                () = at(Some(wake)) => {
                    self.requests.expire(Instant::now(), self.options.request_timeout);
                    if reading && socket.last_read().elapsed() >= silence {
                        return Over::Lost { why: Error::Lost("the server fell silent".into()), wait: Duration::ZERO };
                    }
                }
            }
        }
    }

    /// Everything that may be sent now, as one frame.
    fn outgoing(&mut self, now: Instant) -> Option<String> {
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
            if let Some(cursor) = sub.take_ack() {
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

    fn wake_at(&self) -> Option<Instant> {
        let outboxes = self.outboxes.values().filter_map(Outbox::wake_at);
        let subs = self.subs.values().filter_map(|sub| sub.not_before);
        outboxes.chain(subs).chain(self.requests.wake_at()).min()
    }

    fn command(&mut self, command: Option<Command>) -> Result<(), Over> {
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
                    sub.acknowledge(cursor);
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

    fn unsubscribe(&mut self, channel: &str, id: u64) {
        if self.subs.get(channel).is_some_and(|sub| sub.id == id) {
            self.subs.remove(channel);
            if matches!(*self.state.borrow(), State::Connected(_)) {
                self.to_unsubscribe.push(channel.to_owned());
            }
        }
    }

    fn message(&mut self, message: ServerMessage) {
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
            // Without an id it ends a subscription, when it names a channel: a revocation.
            ServerMessage::Error {
                id: None,
                channel: Some(channel),
                refusal,
            } => {
                let of_publish = refusal
                    .details
                    .as_ref()
                    .is_some_and(|details| details.get("publishId").is_some());
                if !of_publish && !refusal.retryable {
                    self.end_subscription(&channel, Error::from(refusal));
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

    fn unstall(&mut self) {
        if let Some((items, item)) = self.stalled.take() {
            self.hand_over(items, item);
        }
    }

    /// The connection is gone; another will be made.
    fn lost(&mut self, why: &Error) {
        self.requests.lost(why);
        self.outboxes.values_mut().for_each(Outbox::rewind);
        self.to_unsubscribe.clear();
        for sub in self.subs.values() {
            // A reader whose queue is full will see the gap in time by itself.
            let _ = sub.items().try_send(Item::Disconnected(why.to_string()));
        }
    }

    async fn end(mut self, why: Error) {
        self.state.send_replace(State::Ended(why.clone()));
        self.requests.end(&why);
        for record in self
            .outboxes
            .drain()
            .flat_map(|(_, outbox)| outbox.into_items())
        {
            let _ = record.reply.send(Err(why.clone()));
        }
        let patience = Instant::now() + CLOSE_PATIENCE;
        let mut last: Vec<(mpsc::Sender<Item>, Item)> = self.stalled.take().into_iter().collect();
        last.extend(
            self.subs
                .drain()
                .filter_map(|(_, sub)| sub.ended(why.clone())),
        );
        for (items, item) in last {
            // Whoever does not read in time finds the end of the queue instead.
            let _ = tokio::time::timeout_at(patience.into(), items.send(item)).await;
        }
    }
}

/// A draining node asks its clients to come back spread over so many milliseconds.
fn spread(socket: &Socket) -> Duration {
    match socket.close_frame() {
        Some((3001, reason)) => {
            let most = reason
                .split(|letter: char| !letter.is_ascii_digit())
                .find_map(|number| number.parse().ok());
            Duration::from_millis(most.unwrap_or(0u64).min(60_000)).mul_f64(fraction())
        }
        _ => Duration::ZERO,
    }
}

fn push(frame: &mut String, message: &str) {
    if !frame.is_empty() {
        frame.push('\n');
    }
    frame.push_str(message);
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// Comes back when a reader has room again, or is gone.
async fn room(items: Option<mpsc::Sender<Item>>) {
    if let Some(items) = items {
        let _ = items.reserve().await;
    }
}
