//! The task behind a [`crate::Client`]: keeps a connection, resumes what was subscribed, repeats what was not
//! answered.
//!
//! Commands change the state, connected or not; [`Driver::outgoing`] says what the state wants to have sent;
//! the server's messages change the state again. Only the loops at the top touch the socket.

mod command;
mod incoming;
mod outgoing;

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
use crate::error::Error;
use crate::message::Connected;
use crate::outage::Outage;
use crate::outbox::Outbox;
use crate::publish::{Publish, Published};
use crate::requests::{OutboxKey, Requests};
use crate::socket::{Credential, Socket};
use crate::subscriptions::{Item, Subs};

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
    outage: Outage,
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
        (state, outage): (watch::Sender<State>, Outage),
        counters: Arc<Counters>,
    ) -> Driver {
        Driver {
            options,
            commands,
            state,
            outage,
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
                    self.outage.is_over();
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

    /// The connection is gone; another will be made.
    fn lost(&mut self, why: &Error) {
        self.outage.goes_on(why);
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
