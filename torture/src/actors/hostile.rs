//! One who means harm: numbers that do not follow, epochs that are over, ids used twice, one identity on two
//! devices, cursors of other channels, records that nobody can read. Beside it honest outboxes in the same
//! channels, which must not notice.

use std::time::Duration;

use client::{Http, Publish};
use http::Method;
use testbed::Random;

use super::backend::Producer;
use super::gate::Outcome;
use super::{Desk, Phase, publisher};
use crate::evidence::{Book, Stray};
use crate::workload::{any, payload};

/// The largest number that an outbox may have.
const HUGE: u64 = (1 << 53) - 1;

/// The one who means harm.
#[derive(Debug)]
pub(super) struct Hostile {
    pub(super) actor: String,
    pub(super) user: String,
    pub(super) token: String,
    pub(super) channels: Vec<String>,
    /// An honest outbox of the same user in the same channels.
    pub(super) victim: String,
    pub(super) kafka: Producer,
    pub(super) every: Duration,
}

struct Work<'a> {
    hostile: &'a Hostile,
    desk: &'a Desk,
    random: &'a mut Random,
    book: &'a mut Book,
    n: u64,
}

impl Hostile {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut book = Book {
            actor: self.actor.as_str().into(),
            ..Book::default()
        };
        let mut n = 0;
        while !desk.rest(self.every, Phase::Calm).await {
            n += 1;
            let mut work = Work {
                hostile: &self,
                desk: &desk,
                random: &mut random,
                book: &mut book,
                n,
            };
            work.strike().await;
        }
        book
    }
}

impl Work<'_> {
    async fn strike(&mut self) {
        let channel = any(self.random, &self.hostile.channels).clone();
        let big = *any(self.random, &[3, 1000, HUGE - 1, HUGE]);
        match self.random.below(9) {
            // Not its turn, and never will be.
            0 => {
                self.publish(self.event(&channel).identity("evil", 5, big))
                    .await
            }
            1 => {
                self.publish(self.event(&channel).identity("evil", big, 0))
                    .await
            }
            2 => {
                self.publish(self.event(&channel).identity("evil", 0, self.n))
                    .await
            }
            // A name that is honest elsewhere: (channel, user, producer) is the identity, and the user is another.
            3 => {
                self.publish(
                    self.event(&channel)
                        .identity(self.hostile.victim.clone(), 9, 0),
                )
                .await
            }
            // For two minutes: before and after many a kill.
            4 => {
                self.publish(self.event(&channel).id(format!("again-{}", self.n / 400)))
                    .await
            }
            5 => self.two_devices(&channel).await,
            6 => self.poison(&channel).await,
            7 => self.bad_cursor(&channel).await,
            _ => self.impossible(&channel).await,
        }
    }

    fn event(&self, channel: &str) -> Publish {
        let data = payload(&mut Random::of(self.n), &self.hostile.actor, self.n, 8);
        Publish::new(channel, "step", data).expect("payloads are JSON")
    }

    fn http(&mut self) -> Http {
        let door = self.desk.http_door(self.random);
        let http =
            Http::new(door, Some(&self.hostile.token)).expect("a bare HTTP client can be made");
        http.with_deadline(Duration::from_secs(8))
    }

    async fn publish(&mut self, event: Publish) {
        let http = self.http();
        let at = self.desk.clock.now();
        let outcome = Outcome::of(self.desk, http.publish(&event).await);
        self.write_down(&event, at, outcome);
    }

    /// The same place in the same outbox, at the same time, with different things to say.
    async fn two_devices(&mut self, channel: &str) {
        let identity =
            |event: Publish, n: u64| event.identity(format!("twin-{}", n / 20), 0, n % 20);
        let (one, other) = (self.event(channel), self.event(channel));
        let other = Publish {
            event: "draw".into(),
            ..other
        };
        let (one, other) = (identity(one, self.n), identity(other, self.n));
        let (first, second) = (self.http(), self.http());
        let at = self.desk.clock.now();
        let (told, also) = tokio::join!(first.publish(&one), second.publish(&other));
        self.write_down(&one, at, Outcome::of(self.desk, told));
        self.write_down(&other, at, Outcome::of(self.desk, also));
    }

    /// A record that no reader may take.
    async fn poison(&mut self, channel: &str) {
        let key = channel.split_once('.').map_or(channel, |(_, key)| key);
        let foreign = format!("{channel}-not-the-key");
        let (value, header) = match self.random.below(5) {
            0 => ("{\"event\":", channel),
            1 => (r#"{"event":"step","data":{"a":1,"a":2}}"#, channel),
            2 => (r#"{"event":"caught_up","data":1}"#, channel),
            3 => ("", channel),
            _ => (r#"{"event":"step","data":1}"#, foreign.as_str()),
        };
        let at = self.desk.clock.now();
        let outcome = self
            .hostile
            .kafka
            .poison("events", key, value, header)
            .await;
        let event = self.event(channel);
        self.write_down(&event, at, outcome);
        if let Some(noted) = self.book.publishes.last_mut() {
            noted.user = None;
            noted.poison = true;
        }
    }

    /// A cursor of another channel, or with a letter changed, must be refused.
    async fn bad_cursor(&mut self, channel: &str) {
        let http = self.http();
        let others: Vec<&String> = self
            .hostile
            .channels
            .iter()
            .filter(|other| *other != channel)
            .collect();
        let from = (*any(self.random, &others)).clone();
        let asked = client::History {
            channel: from,
            limit: Some(1),
            order: Some("desc"),
            ..client::History::default()
        };
        let Ok(page) = http.history(&asked).await else {
            return;
        };
        let Some(cursor) = page.events.first().and_then(|event| event.cursor.clone()) else {
            return;
        };
        let path = match self.random.below(3) {
            0 => format!("/api/realtime/history?channel={channel}&after={cursor}"),
            1 => format!("/api/realtime/poll?channel={channel}&since={cursor}&wait=0"),
            _ => format!(
                "/api/realtime/poll?channel={channel}&since={}&wait=0",
                changed(&cursor)
            ),
        };
        if let Ok(answer) = http.get(&path).await
            && answer.status.is_success()
        {
            self.stray("a cursor of elsewhere was taken", &path);
        }
    }

    /// Numbers that are none.
    async fn impossible(&mut self, channel: &str) {
        let bad = *any(
            self.random,
            &["-1", "1.5", "1e400", "\"0\"", "18446744073709551616"],
        );
        let body = format!(
            r#"{{"channel":"{channel}","event":"step","data":1,"producer":"evil","epoch":0,"seq":{bad}}}"#
        );
        let headers = [("content-type", "application/json")];
        let http = self.http();
        let calling = http.call(
            Method::POST,
            "/api/realtime/publish",
            &headers,
            body.clone(),
        );
        if let Ok(answer) = calling.await
            && answer.status.is_success()
        {
            self.stray("a number that is none was taken", &body);
        }
    }

    fn stray(&mut self, why: &str, frame: &str) {
        self.book.strays.push(Stray {
            at: self.desk.clock.now(),
            why: why.into(),
            frame: frame.into(),
        });
    }

    fn write_down(&mut self, event: &Publish, at: u32, outcome: Outcome) {
        let times = (at, self.desk.clock.now());
        let user = Some(self.hostile.user.as_str());
        let noted = publisher::noted(self.desk, event, user, times, outcome);
        self.book.publishes.push(noted);
    }
}

/// With its last letter another one.
fn changed(cursor: &str) -> String {
    let mut text = cursor.to_owned();
    let last = text.pop();
    text.push(if last == Some('a') { 'b' } else { 'a' });
    text
}
