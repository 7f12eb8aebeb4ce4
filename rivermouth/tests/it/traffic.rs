//! Traffic: users who publish and read in sessions, and the judgement over what they got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{
    Client, Endpoint, Error, Http, Identity, Item, Options, Publish, Published, Since, Subscribe,
};
use testbed::checker::Received;
use testbed::{Bed, PATIENCE, within};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

/// The event that ends a session's traffic.
const LAST: &str = "traffic.end";

/// How users publish.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// Over the WebSocket that they read from, through an outbox.
    Socket,
    /// Over HTTP at these places, one after the other with an outbox' identity.
    Http(Vec<Endpoint>),
}

/// Traffic to be made.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) sessions: usize,
    pub(crate) users_per_session: usize,
    pub(crate) messages_per_user: u64,
    /// Between two messages of a user. A slow machine stretches it; nothing depends on it.
    pub(crate) pace: Duration,
    /// Where users read; user n begins at place n and goes on with the others.
    pub(crate) nodes: Vec<Endpoint>,
    pub(crate) door: Door,
}

/// How far the traffic is, for those who want to break something in its middle.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    acknowledged: AtomicU64,
    moved: Notify,
}

impl Progress {
    fn one_more(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// How many publishes have been acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many publishes have been acknowledged.
    pub(crate) async fn reached(&self, count: u64) {
        within("the traffic to move", async {
            loop {
                let moved = self.moved.notified();
                if self.acknowledged.load(Ordering::Relaxed) >= count {
                    return;
                }
                moved.await;
            }
        })
        .await;
    }
}

impl Traffic {
    /// Publishes of all users together, the last of each session not counted.
    pub(crate) fn total(&self) -> u64 {
        (self.sessions * self.users_per_session) as u64 * self.messages_per_user
    }

    /// Lets everybody publish and read to the end, then judges: every acknowledged event is in the log once,
    /// every member got the log, the tables are the log.
    pub(crate) async fn run(&self, bed: &Bed, progress: Arc<Progress>) {
        let mut readers = JoinSet::new();
        let mut writers = JoinSet::new();
        for session in 0..self.sessions {
            for user in 0..self.users_per_session {
                let number = session * self.users_per_session + user;
                let channel = channel(session);
                let token = bed
                    .token(&format!("u{number}"))
                    .role(&channel, "player")
                    .mint();
                let client = Client::start(self.options(number, &token)).unwrap();
                let request = Subscribe::new(&channel, Since::Earliest);
                let reader = within("a subscription", client.subscribe(request))
                    .await
                    .unwrap();
                readers.spawn(read_to_the_end(
                    number,
                    channel.clone(),
                    client.clone(),
                    reader,
                ));
                writers.spawn(self.clone().write(
                    number,
                    channel,
                    client,
                    token,
                    Arc::clone(&progress),
                ));
            }
        }
        let mut acknowledged: BTreeMap<String, Vec<Published>> = BTreeMap::new();
        while let Some(written) = writers.join_next().await {
            let (channel, published) = written.expect("a writer does not panic");
            acknowledged.entry(channel).or_default().extend(published);
        }
        let backend = self.https(&bed.backend());
        for session in 0..self.sessions {
            let last = Publish::new(channel(session), LAST, "null")
                .unwrap()
                .id(format!("last-{session}"));
            publish_surely(&backend, &last).await;
        }
        let mut received: BTreeMap<String, Vec<(usize, Received)>> = BTreeMap::new();
        while let Some(read) = readers.join_next().await {
            let (number, channel, events) = read.expect("a reader does not panic");
            received.entry(channel).or_default().push((number, events));
        }
        self.judge(bed, &acknowledged, &received).await;
    }

    async fn judge(
        &self,
        bed: &Bed,
        acknowledged: &BTreeMap<String, Vec<Published>>,
        received: &BTreeMap<String, Vec<(usize, Received)>>,
    ) {
        let checker = bed.checker().await;
        let accepted = checker.tables_equal_log().await;
        let stored = checker.stored_now().await;
        for (channel, members) in received {
            let accepted = &accepted[channel];
            let expected = self.users_per_session as u64 * self.messages_per_user + 1;
            assert_eq!(
                accepted.len() as u64,
                expected,
                "{channel}: every publish was acknowledged, so the log has it once"
            );
            let cursors: BTreeMap<&str, &str> = stored[channel]
                .iter()
                .map(|row| (row.fact.id.as_str(), row.cursor.as_str()))
                .collect();
            for published in &acknowledged[channel] {
                let stored = cursors.get(published.id.as_str());
                let stored = stored.unwrap_or_else(|| {
                    panic!("{channel}: {published:?} was acknowledged and is lost")
                });
                assert!(
                    published
                        .cursor
                        .as_deref()
                        .is_none_or(|cursor| cursor == *stored),
                    "{published:?} lies at {stored}"
                );
            }
            let (_, first) = &members[0];
            for (number, events) in members {
                let who = format!("u{number} in {channel}");
                events.assert_equal(&who, accepted);
                assert_eq!(
                    events.raw(),
                    first.raw(),
                    "{who}: frames are the same bytes for all"
                );
            }
            for (event, row) in first.0.iter().zip(&stored[channel]) {
                assert_eq!(
                    event.cursor.as_deref(),
                    Some(row.cursor.as_str()),
                    "{channel}: cursors in frames and in SQL"
                );
            }
        }
    }

    async fn write(
        self,
        number: usize,
        channel: String,
        client: Client,
        token: String,
        progress: Arc<Progress>,
    ) -> (String, Vec<Published>) {
        // Users do not march in step.
        let start = Instant::now()
            + self
                .pace
                .mul_f64(number as f64 / (self.sessions * self.users_per_session) as f64);
        let mut pace = interval_at(start, self.pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let producer = format!("outbox-{number}");
        let mut published = Vec::new();
        match &self.door {
            Door::Socket => {
                let outbox = client.outbox(producer, 0);
                let mut receipts = JoinSet::new();
                for message in 0..self.messages_per_user {
                    pace.tick().await;
                    let receipt = outbox
                        .send(publish(&channel, number, message))
                        .await
                        .expect("the outbox has room");
                    let progress = Arc::clone(&progress);
                    receipts.spawn(async move {
                        let published = within("an acknowledgement", receipt)
                            .await
                            .expect("a publish is taken");
                        progress.one_more();
                        published
                    });
                }
                published = receipts.join_all().await;
            }
            Door::Http(places) => {
                let doors: Vec<Http> = places.iter().map(|place| http(place, &token)).collect();
                for message in 0..self.messages_per_user {
                    pace.tick().await;
                    let mut publish = publish(&channel, number, message);
                    publish.identity = Some(Identity {
                        producer: producer.clone(),
                        epoch: 0,
                        seq: message,
                    });
                    let at = number + usize::try_from(message).unwrap();
                    let doors: Vec<Http> = (0..doors.len())
                        .map(|next| doors[(at + next) % doors.len()].clone())
                        .collect();
                    published.push(publish_surely(&doors, &publish).await);
                    progress.one_more();
                }
            }
        }
        (channel, published)
    }

    fn options(&self, number: usize, token: &str) -> Options {
        let places = (0..self.nodes.len())
            .map(|next| self.nodes[(number + next) % self.nodes.len()].clone());
        let mut options = Options::new(places.collect(), token);
        options.backoff_first = Duration::from_millis(100);
        options.backoff_most = Duration::from_secs(1);
        options.request_timeout = PATIENCE;
        options.outbox_max = usize::try_from(self.messages_per_user).unwrap();
        options
    }

    fn https(&self, token: &str) -> Vec<Http> {
        let places = match &self.door {
            Door::Socket => &self.nodes,
            Door::Http(places) => places,
        };
        places.iter().map(|place| http(place, token)).collect()
    }
}

fn channel(session: usize) -> String {
    format!("session.s{session}")
}

fn publish(channel: &str, number: usize, message: u64) -> Publish {
    let data = format!(
        r#"{{"by":{number},"n":{message},"points":[{{"x":1.50,"y":-2e1}}],"note":"ä\u0001 \\ \"x\""}}"#
    );
    Publish::new(channel, "draw", data)
        .unwrap()
        .id(format!("u{number}-{message}"))
}

async fn read_to_the_end(
    number: usize,
    channel: String,
    client: Client,
    mut reader: client::Subscription,
) -> (usize, String, Received) {
    let mut events = Vec::new();
    loop {
        let item = within("the next event", reader.next())
            .await
            .expect("a subscription goes on");
        match item {
            Item::Event(event) => {
                events.push(*event);
                if events.last().is_some_and(|event| event.name == LAST) {
                    break;
                }
            }
            Item::Broken { expected, event } => {
                panic!("u{number}: the chain breaks after {expected:?} at {event:?}")
            }
            Item::Gap(gap) => panic!("u{number}: {gap:?}"),
            Item::Ended(error) => panic!("u{number}: {error}"),
            _ => {}
        }
    }
    let stats = client.stats();
    assert_eq!(stats.broken, 0, "u{number}: {stats:?}");
    client.close().await;
    (number, channel, Received(events))
}

pub(crate) fn http(place: &Endpoint, token: &str) -> Http {
    Http::new(place.clone(), Some(token))
        .unwrap()
        .with_deadline(Duration::from_secs(7))
}

/// Publishes at one door after the other until one takes it.
pub(crate) async fn publish_surely(doors: &[Http], publish: &Publish) -> Published {
    let trying = async {
        for door in doors.iter().cycle() {
            match door.publish(publish).await {
                Ok(published) => return published,
                Err(error) if error.is_retryable() || matches!(error, Error::Unexpected(_)) => {
                    let wait = error.retry_after().unwrap_or(Duration::from_millis(50));
                    sleep(wait.min(Duration::from_secs(2))).await;
                }
                Err(error) => panic!("{publish:?} is refused: {error}"),
            }
        }
        unreachable!("there is at least one door")
    };
    timeout(PATIENCE, trying)
        .await
        .unwrap_or_else(|_| panic!("nobody takes {publish:?}"))
}
