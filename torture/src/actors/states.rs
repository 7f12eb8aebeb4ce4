//! Somebody who asks for the states of jobs over HTTP: as of now, and as of cursors that answers had before.

use std::time::Duration;

use client::Http;
use testbed::Random;

use super::{Desk, Phase};
use crate::evidence::{Book, Cursor, Snapshot, Stray};
use crate::workload::any;

/// The one who asks.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) actor: String,
    pub(super) token: String,
    pub(super) channels: Vec<String>,
    pub(super) every: Duration,
}

impl Asker {
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut book = Book {
            actor: self.actor.as_str().into(),
            ..Book::default()
        };
        while !desk.rest(self.every, Phase::Calm).await {
            let channel = any(&mut random, &self.channels);
            let number = desk.names.number(channel);
            let known: Vec<Cursor> = book
                .snapshots
                .iter()
                .filter(|told| told.channel == number)
                .map(|told| told.cursor)
                .collect();
            let asked =
                (!known.is_empty() && random.below(2) == 0).then(|| *any(&mut random, &known));
            let path = match asked {
                Some(at) => format!("/api/realtime/snapshot?channel={channel}&at={at}"),
                None => format!("/api/realtime/snapshot?channel={channel}"),
            };
            let at = desk.clock.now();
            let Ok(http) = Http::new(desk.reader_door(&mut random), Some(&self.token)) else {
                break;
            };
            let asking = http.with_deadline(Duration::from_secs(8)).get(&path).await;
            let Ok(answer) = asking.and_then(client::Answer::success) else {
                continue;
            };
            match answer.json().ok().and_then(|told| read(&told)) {
                Some((cursor, state)) => book.snapshots.push(Snapshot {
                    at,
                    channel: number,
                    asked,
                    cursor,
                    state,
                }),
                None => book.strays.push(Stray {
                    at,
                    why: "a state that cannot be read".into(),
                    frame: String::from_utf8_lossy(&answer.body)
                        .chars()
                        .take(400)
                        .collect(),
                }),
            }
        }
        book
    }
}

fn read(told: &serde_json::Value) -> Option<(Cursor, Box<str>)> {
    let cursor = Cursor::parse(told.get("cursor")?.as_str()?)?;
    Some((cursor, told.get("state")?.to_string().into()))
}
