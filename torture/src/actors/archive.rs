//! Somebody who comes back with old cursors, at any node and over any transport, and stays for a moment.

use std::time::Duration;

use client::Http;
use testbed::Random;

use super::manner::Manner;
use super::notebook::Want;
use super::socket::SocketReader;
use super::stream::StreamReader;
use super::{Desk, Phase};
use crate::evidence::{Book, Cursor, Since, Transport};
use crate::workload::any;

/// Old cursors kept of each channel, at most.
const KEPT: usize = 200;

/// The one who comes back.
#[derive(Debug)]
pub(super) struct Archivist {
    pub(super) actor: String,
    pub(super) user: String,
    pub(super) token: String,
    pub(super) channels: Vec<String>,
    pub(super) every: Duration,
}

impl Archivist {
    /// All its visits in one book: each is a reading of its own that need not have come to its end.
    pub(super) async fn run(self, desk: Desk, mut random: Random) -> Book {
        let mut book = Book {
            actor: self.actor.as_str().into(),
            ..Book::default()
        };
        let mut old: Vec<(usize, Cursor)> = Vec::new();
        while !desk.rest(self.every, Phase::Calm).await {
            let at = crate::workload::index(&mut random, self.channels.len());
            self.look(&desk, &mut random, at, &mut old).await;
            let since = self.since(&mut random, at, &old);
            let visit = self.visit(&desk, &mut random, at, since).await;
            book.readings.extend(visit.readings);
            book.strays.extend(visit.strays);
        }
        book
    }

    /// Remembers where the channel is now.
    async fn look(
        &self,
        desk: &Desk,
        random: &mut Random,
        at: usize,
        old: &mut Vec<(usize, Cursor)>,
    ) {
        let Ok(http) = Http::new(desk.reader_door(random), Some(&self.token)) else {
            return;
        };
        let page = client::History {
            channel: self.channels[at].clone(),
            limit: Some(1),
            order: Some("desc"),
            ..client::History::default()
        };
        let Ok(page) = http
            .with_deadline(Duration::from_secs(3))
            .history(&page)
            .await
        else {
            return;
        };
        let cursors = page
            .events
            .iter()
            .filter_map(|event| event.cursor.as_deref());
        old.extend(cursors.filter_map(Cursor::parse).map(|cursor| (at, cursor)));
        if old.len() > KEPT * self.channels.len() {
            old.swap_remove(0);
        }
    }

    fn since(&self, random: &mut Random, at: usize, old: &[(usize, Cursor)]) -> Since {
        let here: Vec<Cursor> = old
            .iter()
            .filter(|(of, _)| *of == at)
            .map(|(_, cursor)| *cursor)
            .collect();
        match random.below(6) {
            0 => Since::Earliest,
            1 => Since::Latest,
            2 => Since::Last(1 + u32::try_from(random.below(60)).expect("below 60")),
            _ if here.is_empty() => Since::Earliest,
            _ => Since::Cursor(*any(random, &here)),
        }
    }

    /// A second or two of reading.
    async fn visit(&self, desk: &Desk, random: &mut Random, at: usize, since: Since) -> Book {
        let stay = Duration::from_millis(300 + random.below(2_500));
        let mut want = Want::all(self.channels[at].clone(), since);
        let transport = *any(
            random,
            &[
                Transport::Socket,
                Transport::Sse,
                Transport::Stream,
                Transport::Poll,
            ],
        );
        let (sender, phase) = tokio::sync::watch::channel(Phase::Storm);
        let own = Desk {
            phase,
            ..desk.clone()
        };
        let (actor, user, token) = (self.actor.clone(), self.user.clone(), self.token.clone());
        let mut manner = Manner::default();
        // A backlog and few acknowledgements: here a window is what holds the server back.
        if transport == Transport::Socket && random.below(2) == 0 {
            want.since = Since::Earliest;
            want.window = Some(1 + u32::try_from(random.below(4)).expect("below 4"));
            manner.ack_after = Some(Duration::from_millis(250));
        }
        let wants = vec![want];
        let own_random = random.fork();
        let reading = async {
            match transport {
                Transport::Socket => {
                    let reader = SocketReader {
                        actor,
                        user,
                        token,
                        wants,
                        manner,
                    };
                    reader.run(own, own_random).await
                }
                _ => {
                    let reader = StreamReader {
                        actor,
                        user,
                        token,
                        transport,
                        wants,
                        manner,
                    };
                    reader.run(own, own_random).await
                }
            }
        };
        let leaving = async {
            desk.rest(stay, Phase::Calm).await;
            let _ = sender.send(Phase::Over);
        };
        let (book, ()) = tokio::join!(reading, leaving);
        book
    }
}
