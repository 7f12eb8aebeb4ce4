//! Who reads.

use std::time::Duration;

use super::super::archive::Archivist;
use super::super::manner::Manner;
use super::super::notebook::Want;
use super::super::pages::Pager;
use super::super::socket::SocketReader;
use super::super::stream::StreamReader;
use super::Casting;
use crate::evidence::{Since, Transport};
use crate::workload::{END, any};

impl Casting<'_> {
    pub(super) fn socket(&mut self, actor: String, wants: Vec<Want>, manner: Manner) {
        let token = self.desk.world.user(&actor);
        let user = actor.clone();
        let reader = SocketReader {
            actor,
            user,
            token,
            wants,
            manner,
        };
        self.listen(|desk, random| reader.run(desk, random));
    }

    pub(super) fn sockets(&mut self) {
        for at in 0..8 {
            let since = *any(
                &mut self.random,
                &[Since::Earliest, Since::Latest, Since::Last(20)],
            );
            let wants = self
                .some(6)
                .into_iter()
                .map(|channel| Want::all(channel, since));
            let hop = (at % 2 == 0).then(|| Duration::from_secs(12));
            self.socket(
                format!("ws-{at}"),
                wants.collect(),
                Manner {
                    hop,
                    ..Manner::default()
                },
            );
        }
        for at in 0..3 {
            let wants = vec![
                Want::all(self.channels.fat[0].clone(), Since::Earliest),
                Want::all(
                    any(&mut self.random, &self.channels.hot).clone(),
                    Since::Earliest,
                ),
            ];
            let slow = Some(Duration::from_millis(40 << at));
            self.socket(
                format!("ws-slow-{at}"),
                wants,
                Manner {
                    slow,
                    ..Manner::default()
                },
            );
        }
        for at in 0..3 {
            let fat = Want::all(self.channels.fat[0].clone(), Since::Earliest);
            let stuck = Some(Duration::from_secs(15 << at));
            self.socket(
                format!("ws-stuck-{at}"),
                vec![fat],
                Manner {
                    stuck,
                    ..Manner::default()
                },
            );
        }
        for (at, window) in [1, 16, 200].into_iter().enumerate() {
            let channels = [
                &self.channels.quiet[at],
                &self.channels.busy[at],
                &self.channels.hot[at % 2],
            ];
            let want = Want {
                window: Some(window),
                ..Want::all(channels[at].clone(), Since::Earliest)
            };
            let manner = Manner {
                ack_every: Some(window.div_ceil(3)),
                hop: Some(Duration::from_secs(25)),
                ..Manner::default()
            };
            self.socket(format!("ws-window-{at}"), vec![want], manner);
        }
        for at in 0..2 {
            let wants = self.some(4).into_iter().map(|channel| Want {
                types: vec!["step".into(), END.into()],
                ..Want::all(channel, Since::Earliest)
            });
            let hop = Some(Duration::from_secs(20));
            self.socket(
                format!("ws-types-{at}"),
                wants.collect(),
                Manner {
                    hop,
                    ..Manner::default()
                },
            );
        }
        if self.cast.durable {
            self.durable();
        }
    }

    fn durable(&mut self) {
        for at in 0..3 {
            let want = Want {
                window: Some(64),
                durable: Some(format!("kept-{at}")),
                ..Want::all(self.some(1).remove(0), Since::Earliest)
            };
            let manner = Manner {
                ack_every: Some(5),
                hop: Some(Duration::from_secs(15)),
                ..Manner::default()
            };
            self.socket(format!("ws-durable-{at}"), vec![want], manner);
        }
        for at in 0..2 {
            let want = Want {
                window: Some(40),
                durable: Some(format!("kept-{at}")),
                ..Want::all(self.some(1).remove(0), Since::Earliest)
            };
            let manner = Manner {
                ack_every: Some(7),
                hop: Some(Duration::from_secs(15)),
                ..Manner::default()
            };
            self.stream(
                format!("sse-durable-{at}"),
                Transport::Sse,
                vec![want],
                manner,
            );
        }
    }

    fn stream(&mut self, actor: String, transport: Transport, wants: Vec<Want>, manner: Manner) {
        let token = self.desk.world.user(&actor);
        let user = actor.clone();
        let reader = StreamReader {
            actor,
            user,
            token,
            transport,
            wants,
            manner,
        };
        self.listen(|desk, random| reader.run(desk, random));
    }

    pub(super) fn streams(&mut self) {
        for at in 0..4 {
            let since = *any(&mut self.random, &[Since::Earliest, Since::Latest]);
            let wants = self
                .some(4)
                .into_iter()
                .map(|channel| Want::all(channel, since));
            let manner = Manner {
                hop: (at % 2 == 0).then(|| Duration::from_secs(15)),
                slow: (at == 3).then(|| Duration::from_millis(20)),
                ..Manner::default()
            };
            self.stream(format!("sse-{at}"), Transport::Sse, wants.collect(), manner);
        }
        for at in 0..3 {
            let since = *any(&mut self.random, &[Since::Earliest, Since::Latest]);
            let channel = if at == 0 {
                self.channels.fat[0].clone()
            } else {
                self.some(1).remove(0)
            };
            let manner = Manner {
                hop: (at == 1).then(|| Duration::from_secs(10)),
                slow: (at == 0).then(|| Duration::from_millis(60)),
                ..Manner::default()
            };
            self.stream(
                format!("ndjson-{at}"),
                Transport::Stream,
                vec![Want::all(channel, since)],
                manner,
            );
        }
        for at in 0..4 {
            let want = Want::all(self.some(1).remove(0), Since::Earliest);
            self.stream(
                format!("poll-{at}"),
                Transport::Poll,
                vec![want],
                Manner::default(),
            );
        }
    }

    pub(super) fn archive(&mut self) {
        for at in 0..2 {
            let actor = format!("pager-{at}");
            let pager = Pager {
                token: self.desk.world.user(&actor),
                user: actor.clone(),
                actor,
                channels: self.some(12),
                every: Duration::from_millis(700),
            };
            self.talk(|desk, random| pager.run(desk, random));
            let actor = format!("archivist-{at}");
            let archivist = Archivist {
                token: self.desk.world.user(&actor),
                user: actor.clone(),
                actor,
                channels: self.some(8),
                every: Duration::from_millis(1_200),
            };
            self.talk(|desk, random| archivist.run(desk, random));
        }
    }
}
