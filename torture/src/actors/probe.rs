//! Probes: small publishes all the time through every gateway, and readers on every fan-out node, to see how
//! long after a fault events get through again.
//!
//! A probe carries when it was sent. The world has recovered from a fault once, on every path, something sent
//! after the fault began (or after what was taken away came back) has been received.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Credential, Http, Publish, ServerMessage, Socket, SocketOptions};
use testbed::Random;
use tokio::sync::watch;
use tokio::time::timeout;

use super::gate::Outcome;
use super::{Desk, Phase};
use crate::evidence::Book;

/// Between two probes of a gateway.
const EVERY: Duration = Duration::from_millis(150);

/// Arrivals that are remembered of each path: some minutes.
const REMEMBERED: usize = 2_000;

/// When probes of one path were sent and when they came, in the order in which they came.
type Arrivals = VecDeque<(u32, u32)>;

/// What has arrived, for every path from a gateway to a fan-out node.
#[derive(Debug, Clone)]
pub struct Paths {
    arrivals: Arc<Mutex<Vec<Vec<Arrivals>>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Paths {
    /// None yet, between so many gateways and nodes.
    pub fn new(gateways: usize, nodes: usize) -> Paths {
        let none = vec![vec![Arrivals::new(); nodes]; gateways];
        Paths {
            arrivals: Arc::new(Mutex::new(none)),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    fn arrived(&self, gateway: usize, node: usize, sent: u32, now: u32) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = arrivals
            .get_mut(gateway)
            .and_then(|nodes| nodes.get_mut(node))
        {
            if path.len() == REMEMBERED {
                path.pop_front();
            }
            path.push_back((sent, now));
        }
        drop(arrivals);
        self.changed.send_modify(|count| *count += 1);
    }

    /// When the last path had something that was sent at or after `from`; none while one has not.
    fn all_since(&self, from: u32) -> Option<u32> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let first = |path: &Arrivals| {
            path.iter()
                .find(|(sent, _)| *sent >= from)
                .map(|(_, at)| *at)
        };
        let paths = arrivals.iter().flatten().map(first);
        paths.collect::<Option<Vec<u32>>>()?.into_iter().max()
    }

    /// Waits until something sent at or after `from` has arrived on every path, and gives the time when it first
    /// had; none when it has not within `patience`. It may be asked afterwards.
    pub async fn recovered(&self, from: u32, patience: Duration) -> Option<u32> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(at) = self.all_since(from) {
                    return at;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        timeout(patience, waiting).await.ok()
    }
}

/// A publisher of probes that prefers one gateway and takes the next when that one does not answer.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) gateway: usize,
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) token: String,
}

impl Sender {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut book = Book {
            actor: format!("probe-{}", self.gateway).into(),
            ..Book::default()
        };
        let gateways = desk.world.ingest.len();
        let mut at = self.gateway;
        let mut seq = 0;
        while !desk.rest(EVERY, Phase::Calm).await {
            let sent = desk.clock.now();
            let event = Publish::new(&self.channel, "probe", format!(r#"{{"sent":{sent}}}"#))
                .expect("a number is JSON")
                .identity(format!("probe-{}", self.gateway), 0, seq);
            // The same record until it is in the log; it keeps the time at which it was first sent.
            while desk.now() < Phase::Ebb {
                let began = desk.clock.now();
                let door = desk.world.ingest[at % gateways].endpoint.clone();
                let published = match Http::new(door, Some(&self.token)) {
                    Ok(http) => {
                        http.with_deadline(Duration::from_secs(2))
                            .publish(&event)
                            .await
                    }
                    Err(error) => Err(error),
                };
                let outcome = Outcome::of(&desk, published);
                let times = (began, desk.clock.now());
                let noted =
                    super::publisher::noted(&desk, &event, Some(&self.user), times, outcome);
                book.publishes.push(noted);
                if outcome.is_done() {
                    seq += 1;
                    break;
                }
                at += 1;
                super::pause(&mut random).await;
            }
        }
        book
    }
}

/// A reader of all probes that prefers one node and takes the next when that one is away. It keeps no book:
/// other readers are judged.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) node: usize,
    pub(super) channels: Vec<String>,
    pub(super) token: String,
    pub(super) paths: Paths,
}

impl Receiver {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let nodes = desk.world.fanout.len();
        let mut at = self.node;
        while desk.now() < Phase::Ebb {
            tokio::select! {
                () = self.read(&desk, at % nodes) => {}
                () = desk.reached(Phase::Ebb) => {}
            }
            // Its own node again as soon as that one answers.
            at = if at == self.node {
                self.node + 1
            } else {
                self.node
            };
            super::pause(&mut random).await;
        }
        Book::default()
    }

    /// Until the connection ends or falls silent.
    async fn read(&self, desk: &Desk, at: usize) {
        let options = SocketOptions {
            connect_timeout: Duration::from_secs(2),
            ..SocketOptions::default()
        };
        let credential = Credential::Header(self.token.clone());
        let door = &desk.world.fanout[at].endpoint;
        let Ok((mut socket, _)) = Socket::open(door, "/ws", &credential, &options).await else {
            return;
        };
        for (at, channel) in self.channels.iter().enumerate() {
            let params = format!(r#"{{"channel":"{channel}","since":{{"last":1}}}}"#);
            if socket
                .request(&format!("s{at}"), "subscribe", &params)
                .await
                .is_err()
            {
                return;
            }
        }
        while let Ok(Ok(message)) = timeout(Duration::from_secs(5), socket.next()).await {
            match message {
                ServerMessage::Event(event) => self.arrived(desk, &event),
                ServerMessage::Error { .. } => return,
                _ => {}
            }
        }
    }

    fn arrived(&self, desk: &Desk, event: &client::Event) {
        let gateway = self
            .channels
            .iter()
            .position(|channel| *channel == event.channel);
        let sent = serde_json::from_str::<serde_json::Value>(&event.data)
            .ok()
            .and_then(|data| u32::try_from(data.get("sent")?.as_u64()?).ok());
        if let (Some(gateway), Some(sent)) = (gateway, sent) {
            self.paths
                .arrived(gateway, self.node, sent, desk.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_world_has_recovered_when_the_last_path_has_and_not_before() {
        let paths = Paths::new(1, 2);
        paths.arrived(0, 0, 90, 95);
        paths.arrived(0, 0, 100, 130);
        paths.arrived(0, 1, 90, 300);
        assert_eq!(paths.recovered(100, Duration::ZERO).await, None);
        paths.arrived(0, 1, 110, 310);
        paths.arrived(0, 1, 120, 320);
        assert_eq!(paths.recovered(100, Duration::ZERO).await, Some(310));
    }
}
