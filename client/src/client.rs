//! The reconnecting client and its handles.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::commands::{COMMANDS_MAX, Command};
use crate::driver::Driver;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::message::Connected;
use crate::outage::{Outage, Report};
use crate::publish::{Publish, Published};
use crate::socket::SocketOptions;
use crate::subscriptions::{Item, Subscribe};

/// Gives the token for the next connection.
pub type TokenSource = Arc<dyn Fn() -> String + Send + Sync>;

/// Settings of a [`Client`].
#[derive(Clone)]
pub struct Options {
    /// The servers, in order of preference; the next one is tried when one cannot be reached.
    pub endpoints: Vec<Endpoint>,
    /// Asked before every connection, so that an expired token can be replaced.
    pub token: TokenSource,
    /// Ceiling of the first reconnect delay.
    pub backoff_first: Duration,
    /// Ceiling of every reconnect delay.
    pub backoff_most: Duration,
    /// How long a call (a publish with all its repetitions) may take.
    pub request_timeout: Duration,
    /// How many publishes one outbox holds per channel.
    pub outbox_max: usize,
    /// Settings of each connection.
    pub socket: SocketOptions,
}

impl Options {
    /// The usual settings: back-off 0.5 s to 30 s, 30 s per call, outboxes of 1024.
    pub fn new(endpoints: Vec<Endpoint>, token: impl Into<String>) -> Options {
        let token = token.into();
        Options {
            endpoints,
            token: Arc::new(move || token.clone()),
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            outbox_max: 1024,
            socket: SocketOptions::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

/// What a client has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections made.
    pub connects: u64,
    /// Events given to readers.
    pub delivered: u64,
    /// Events that came again and were dropped.
    pub repeated: u64,
    /// Events whose `prev` was not the one before: each a defect of the server.
    pub broken: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connects: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) broken: AtomicU64,
}

/// Where the connection stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Connecting,
    Connected(Connected),
    Ended(Error),
}

/// A connection that is kept: one driver task owns the socket, handles talk to it through a bounded queue.
/// It ends by [`Client::close`], when every handle is dropped, or when the server ends it for good.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    outage: Report,
    counters: Arc<Counters>,
    ids: Arc<AtomicU64>,
    request_timeout: Duration,
}

impl Client {
    /// Starts connecting; must be called within a Tokio runtime. [`Error::Invalid`] without an endpoint.
    pub fn start(options: Options) -> Result<Client, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("no endpoint".into()));
        }
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let (reporter, state) = watch::channel(State::Connecting);
        let outage = Outage::new();
        let report = outage.report();
        let counters = Arc::new(Counters::default());
        let request_timeout = options.request_timeout;
        let driver = Driver::new(options, queue, (reporter, outage), Arc::clone(&counters));
        tokio::spawn(driver.run());
        Ok(Client {
            commands,
            state,
            outage: report,
            counters,
            ids: Arc::default(),
            request_timeout,
        })
    }

    /// Starts and waits for the first connection.
    pub async fn connect(options: Options) -> Result<Client, Error> {
        let patience = options.request_timeout;
        let client = Client::start(options)?;
        client.ready(patience).await?;
        Ok(client)
    }

    /// Waits until there is a connection, and says what the server said about it.
    pub async fn ready(&self, patience: Duration) -> Result<Connected, Error> {
        let mut state = self.state.clone();
        let waiting = async {
            let state = state
                .wait_for(|state| !matches!(state, State::Connecting))
                .await;
            match state.as_deref() {
                Ok(State::Connected(connected)) => Ok(connected.clone()),
                Ok(State::Ended(error)) => Err(error.clone()),
                Ok(State::Connecting) | Err(_) => Err(Error::Closed),
            }
        };
        timeout(patience, waiting)
            .await
            .unwrap_or(Err(Error::Timeout(patience)))
    }

    /// Why there is no connection, while there is none: changes once when an outage begins and once when it is over.
    /// `None` too while the first connection is being made. The sender goes with the client.
    pub fn outage(&self) -> watch::Receiver<Option<Error>> {
        self.outage.clone()
    }

    /// Subscribes and waits for the server's answer. A second subscription to a channel replaces the first.
    pub async fn subscribe(&self, request: Subscribe) -> Result<Subscription, Error> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (items, reader) = mpsc::channel(request.queue.max(1));
        let (reply, answer) = oneshot::channel();
        let subscription = Subscription {
            id,
            channel: request.channel.clone(),
            items: reader,
            commands: self.commands.clone(),
            ack_every: request.window.map(|window| (window / 2).max(1)),
            unacked: 0,
            handled: None,
        };
        self.send(Command::Subscribe {
            id,
            request,
            items,
            reply,
        })
        .await?;
        let answered = timeout(self.request_timeout, answer).await;
        answered
            .map_err(|_| Error::Timeout(self.request_timeout))?
            .unwrap_or(Err(Error::Closed))?;
        Ok(subscription)
    }

    /// Publishes, repeating with the same id until the log has it or the time is over.
    pub async fn publish(&self, mut publish: Publish) -> Result<Published, Error> {
        if publish.id.is_none() && publish.identity.is_none() {
            publish.id = Some(uuid::Uuid::now_v7().to_string());
        }
        let answer = self.call("publish", publish.to_json(), true).await?;
        serde_json::from_str(&answer)
            .map_err(|error| Error::Unexpected(format!("answer to publish: {error}")))
    }

    /// Makes a request with `params` as JSON text and gives the response's `data` as JSON text. It is not
    /// repeated when the connection breaks.
    pub async fn request(
        &self,
        method: &'static str,
        params: impl Into<String>,
    ) -> Result<String, Error> {
        self.call(method, params.into(), false).await
    }

    async fn call(
        &self,
        method: &'static str,
        params: String,
        again: bool,
    ) -> Result<String, Error> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.request_timeout;
        self.send(Command::Request {
            method,
            params,
            again,
            deadline,
            reply,
        })
        .await?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// An outbox of this client: `producer` is its lasting random name, `epoch` is raised when it is re-created.
    /// Within one client, handles of the same name and epoch are one outbox.
    pub fn outbox(&self, producer: impl Into<String>, epoch: u64) -> OutboxHandle {
        OutboxHandle {
            producer: producer.into(),
            epoch,
            commands: self.commands.clone(),
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connects: read(&self.counters.connects),
            delivered: read(&self.counters.delivered),
            repeated: read(&self.counters.repeated),
            broken: read(&self.counters.broken),
        }
    }

    /// Ends the connection. Calls that still wait get [`Error::Closed`].
    pub async fn close(self) {
        let (reply, closed) = oneshot::channel();
        if self.send(Command::Close { reply }).await.is_ok() {
            // The driver drops the reply when it ends, which is the answer.
            let _ = closed.await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands
            .send(command)
            .await
            .map_err(|_| match &*self.state.borrow() {
                State::Ended(error) => error.clone(),
                _ => Error::Closed,
            })
    }
}

/// The reader's end of a subscription. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    channel: String,
    items: mpsc::Receiver<Item>,
    commands: mpsc::Sender<Command>,
    /// With a window: acknowledge whenever so many events were taken.
    ack_every: Option<u32>,
    unacked: u32,
    /// The cursor of the event that was given last.
    handled: Option<String>,
}

impl Subscription {
    /// The channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The next item; none after the end. With a window, asking for the next item acknowledges those before.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        if self.ack_every.is_some_and(|every| self.unacked >= every)
            && let Some(cursor) = self.handled.clone()
        {
            self.ack(cursor).await;
        }
        let item = self.items.recv().await?;
        if let Item::Event(event) = &item
            && let Some(cursor) = &event.cursor
        {
            self.handled = Some(cursor.clone());
            self.unacked += 1;
        }
        Some(item)
    }

    /// Acknowledges everything up to `cursor`.
    pub async fn ack(&mut self, cursor: String) {
        self.unacked = 0;
        // Without a driver there is nobody to hear it.
        let _ = self
            .commands
            .send(Command::Ack {
                id: self.id,
                channel: self.channel.clone(),
                cursor,
            })
            .await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // When the queue is full the driver finds the reader gone with the next event.
        let _ = self.commands.try_send(Command::Unsubscribe {
            id: self.id,
            channel: self.channel.clone(),
        });
    }
}

/// A named outbox: records of one channel are taken in the order of [`OutboxHandle::send`], each once,
/// whatever happens to connections and servers in between.
#[derive(Debug, Clone)]
pub struct OutboxHandle {
    producer: String,
    epoch: u64,
    commands: mpsc::Sender<Command>,
}

impl OutboxHandle {
    /// Puts a publish into the outbox; its place in the order is settled when this returns. The receipt says
    /// when the log has it.
    pub async fn send(&self, publish: Publish) -> Result<Receipt, Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Outbox {
            producer: self.producer.clone(),
            epoch: self.epoch,
            publish,
            reply,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| Error::Closed)?;
        Ok(Receipt(answer))
    }

    /// Puts a publish into the outbox and waits until the log has it. Waits as long as the server is away:
    /// an outbox does not give up; put a deadline around it.
    pub async fn publish(&self, publish: Publish) -> Result<Published, Error> {
        self.send(publish).await?.await
    }
}

/// The coming answer to one record of an outbox. Dropping it does not take the record back.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Published, Error>>);

impl Future for Receipt {
    type Output = Result<Published, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or(Err(Error::Closed)))
    }
}
