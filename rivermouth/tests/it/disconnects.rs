//! Readers whose connections break at random instants, 200 times in all, and who resume over WebSocket,
//! server-sent events, NDJSON and polling in turn, at one node or the other, while events keep coming. What
//! they read, put together, is the log.

use std::time::Duration;

use client::{
    Client, Endpoint, Event, FollowOptions, Follower, Http, Item, Options, Publish, Since,
    Subscribe, Transport,
};
use testbed::checker::Received;
use testbed::{Bed, Random, within};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::BINARY;
use crate::insisting::{publish_all_surely, surely};
use crate::traffic::publish_surely;

const READERS: usize = 4;
const DISCONNECTS: usize = 50;
const LAST: &str = "the.end";

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_random_disconnects_lose_double_and_reorder_nothing() {
    let bed = Bed::on_kafka(BINARY).await;
    let (first, second, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let places = vec![first.endpoint(), second.endpoint()];
    let mut random = Random::seeded("random disconnects");
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let reader = Reader {
            channel: format!("session.r{}", number % 2),
            token: bed.gm(&format!("reader{number}")),
            places: places.clone(),
            random: random.fork(),
            round: number,
            cursor: None,
            events: Vec::new(),
        };
        readers.spawn(reader.run());
    }
    let backend = first.http(&bed.backend());
    // Events come until every reader has been cut off often enough.
    let mut readings = Vec::new();
    let mut number = 0;
    while readings.len() < READERS {
        let batch: Vec<Publish> = (0..10).map(|at| event(number + at)).collect();
        publish_all_surely(&backend, &batch).await;
        number += 10;
        while let Some(done) = readers.try_join_next() {
            readings.push(done.expect("a reader does not panic"));
        }
        assert!(number < 200_000, "the readers do not come to an end");
        sleep(Duration::from_millis(20)).await;
    }
    for channel in ["session.r0", "session.r1"] {
        let last = Publish::new(channel, LAST, "null")
            .unwrap()
            .id(format!("last-{channel}"));
        publish_surely(std::slice::from_ref(&backend), &last).await;
    }
    let mut finishing = JoinSet::new();
    for reader in readings {
        finishing.spawn(reader.finish());
    }
    let accepted = bed.checker().await.tables_equal_log().await;
    for (channel, received) in within("the readers", finishing.join_all()).await {
        received.assert_equal(&format!("a reader of {channel}"), &accepted[&channel]);
    }
}

fn event(number: u64) -> Publish {
    Publish::new(
        format!("session.r{}", number % 2),
        "draw",
        number.to_string(),
    )
    .unwrap()
    .id(format!("e{number}"))
}

/// One reader, which keeps nothing across connections but its cursor and what it has read.
struct Reader {
    channel: String,
    token: String,
    places: Vec<Endpoint>,
    random: Random,
    round: usize,
    cursor: Option<String>,
    events: Vec<Event>,
}

impl Reader {
    async fn run(mut self) -> Reader {
        for _ in 0..DISCONNECTS {
            // Cut after some events, or after some time whatever is under way then.
            let events = usize::try_from(self.random.below(40)).unwrap();
            let time = Duration::from_millis(20 + self.random.below(400));
            let _ = timeout(time, self.read(events, false)).await;
        }
        self
    }

    async fn finish(mut self) -> (String, Received) {
        within("the last event", self.read(usize::MAX, true)).await;
        (self.channel, Received(self.events))
    }

    /// Reads over the transport whose turn it is and then breaks off. Cancelling it is breaking off as well.
    async fn read(&mut self, count: usize, to_the_end: bool) {
        self.round += 1;
        let since = self.cursor.clone().map_or(Since::Earliest, Since::Cursor);
        let mut places = self.places.clone();
        places.rotate_left(self.round / 4 % self.places.len());
        let transport = match self.round % 4 {
            0 => return self.read_socket(places, since, count, to_the_end).await,
            1 => Transport::Sse,
            2 => Transport::Stream,
            _ => return self.read_polls(&places[0].clone(), count, to_the_end).await,
        };
        let mut options = FollowOptions::new(
            places,
            &self.token,
            transport,
            vec![self.channel.clone()],
            since,
        );
        options.backoff = (Duration::from_millis(50), Duration::from_millis(500));
        let mut follower = Follower::new(options).unwrap();
        let goal = self.events.len().saturating_add(count);
        while self.events.len() < goal {
            let (_, item) = follower.next().await.unwrap();
            self.take(item);
            if to_the_end && self.is_at_the_end() {
                return;
            }
        }
    }

    async fn read_socket(
        &mut self,
        places: Vec<Endpoint>,
        since: Since,
        count: usize,
        to_the_end: bool,
    ) {
        let mut options = Options::new(places, self.token.clone());
        options.backoff_first = Duration::from_millis(50);
        let client = Client::start(options).unwrap();
        let mut reader = client
            .subscribe(Subscribe::new(&self.channel, since))
            .await
            .unwrap();
        let goal = self.events.len().saturating_add(count);
        while self.events.len() < goal {
            let item = reader.next().await.expect("a subscription goes on");
            self.take(item);
            if to_the_end && self.is_at_the_end() {
                return;
            }
        }
    }

    async fn read_polls(&mut self, place: &Endpoint, count: usize, to_the_end: bool) {
        let http = Http::new(place.clone(), Some(&self.token)).unwrap();
        let channels = [self.channel.clone()];
        let goal = self.events.len().saturating_add(count);
        while self.events.len() < goal {
            let since = self.cursor.clone().unwrap_or_else(|| "earliest".into());
            let poll = surely("a poll", || http.poll(&channels, Some(&since), &[], 1)).await;
            assert!(poll.gap.is_none(), "{poll:?}");
            self.events.extend(poll.events);
            // Between these two lines nothing can break off.
            self.cursor = Some(poll.cursor);
            if to_the_end && self.is_at_the_end() {
                return;
            }
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Event(event) => {
                self.cursor = event.cursor.clone();
                self.events.push(*event);
            }
            Item::Broken { .. } | Item::Gap(_) | Item::Ended(_) => {
                panic!("{}: {item:?}", self.channel)
            }
            Item::CaughtUp { .. }
            | Item::Subscribed { .. }
            | Item::Lagging
            | Item::Disconnected(_) => {}
        }
    }

    fn is_at_the_end(&self) -> bool {
        self.events.last().is_some_and(|event| event.name == LAST)
    }
}
