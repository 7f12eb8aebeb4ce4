//! Who is there: a list of actors made from the seed, and starting them all.

use std::future::Future;
use std::time::Duration;

use testbed::Random;
use tokio::task::JoinSet;

use super::Desk;
use super::archive::Archivist;
use super::backend::{Kcat, Producer};
use super::gate::Gate;
use super::hostile::Hostile;
use super::notebook::Want;
use super::pages::Pager;
use super::probe::{Paths, Receiver, Sender};
use super::publisher::{Identity, Publisher};
use super::socket::{Manner, SocketReader};
use super::source::Source;
use super::stream::StreamReader;
use crate::evidence::{Book, Since, Transport};
use crate::workload::{Channels, END, any};

/// What there is of each kind.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Events a second over all publishers.
    pub rate: f64,
    /// What the server does not serve yet is not asked for.
    pub durable: bool,
    /// Whether snapshots are served.
    pub snapshots: bool,
    /// Who takes part.
    pub parts: Vec<Part>,
}

/// A group of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// WebSocket readers of all manners.
    Sockets,
    /// Readers over server-sent events, NDJSON and polls.
    Streams,
    /// Pagers and those who come back with old cursors.
    Archive,
    /// Publishers with and without outbox, over WebSocket and HTTP.
    Gateways,
    /// Backends that write to Kafka themselves.
    Backends,
    /// Workers and readers of jobs.
    Jobs,
    /// The hostile.
    Hostile,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::Sockets,
        Part::Streams,
        Part::Archive,
        Part::Gateways,
        Part::Backends,
        Part::Jobs,
        Part::Hostile,
    ];
}

/// Everybody at work.
#[derive(Debug)]
pub struct Troupe {
    /// Who publishes, strolls about in the past, or means harm. They end when it is calm.
    pub talkers: JoinSet<Book>,
    /// Who reads to the last event.
    pub listeners: JoinSet<Book>,
    /// What the probes see.
    pub paths: Paths,
}

struct Casting<'a> {
    desk: &'a Desk,
    cast: &'a Cast,
    channels: &'a Channels,
    random: Random,
    talkers: JoinSet<Book>,
    listeners: JoinSet<Book>,
}

/// Starts everybody.
pub fn start(desk: &Desk, cast: &Cast, channels: &Channels, random: Random) -> Troupe {
    let mut casting = Casting {
        desk,
        cast,
        channels,
        random,
        talkers: JoinSet::new(),
        listeners: JoinSet::new(),
    };
    for part in &cast.parts {
        match part {
            Part::Sockets => casting.sockets(),
            Part::Streams => casting.streams(),
            Part::Archive => casting.archive(),
            Part::Gateways => casting.gateways(),
            Part::Backends => casting.backends(),
            Part::Jobs => casting.jobs(),
            Part::Hostile => casting.hostile(),
        }
    }
    let paths = casting.probes();
    Troupe {
        talkers: casting.talkers,
        listeners: casting.listeners,
        paths,
    }
}

impl Casting<'_> {
    fn talk<F>(&mut self, act: impl FnOnce(Desk, Random) -> F)
    where
        F: Future<Output = Book> + Send + 'static,
    {
        let acting = act(self.desk.clone(), self.random.fork());
        self.talkers.spawn(acting);
    }

    fn listen<F>(&mut self, act: impl FnOnce(Desk, Random) -> F)
    where
        F: Future<Output = Book> + Send + 'static,
    {
        let acting = act(self.desk.clone(), self.random.fork());
        self.listeners.spawn(acting);
    }

    /// So many different channels that users read.
    fn some(&mut self, count: usize) -> Vec<String> {
        let channels = self.channels;
        let all: Vec<&String> = channels
            .busy
            .iter()
            .chain(&channels.quiet)
            .chain(&channels.hot)
            .collect();
        let mut chosen = Vec::new();
        while chosen.len() < count {
            let one = (*any(&mut self.random, &all)).clone();
            if !chosen.contains(&one) {
                chosen.push(one);
            }
        }
        chosen
    }

    fn socket(&mut self, actor: String, wants: Vec<Want>, manner: Manner) {
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

    fn sockets(&mut self) {
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

    fn streams(&mut self) {
        for at in 0..4 {
            let since = *any(&mut self.random, &[Since::Earliest, Since::Latest]);
            let wants = self
                .some(4)
                .into_iter()
                .map(|channel| Want::all(channel, since));
            let manner = Manner {
                hop: (at % 2 == 0).then(|| Duration::from_secs(15)),
                slow: (at == 3).then(|| Duration::from_millis(20)),
                stuck: None,
                ack_every: None,
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

    fn archive(&mut self) {
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

    fn publisher(
        &mut self,
        actor: String,
        gate: impl FnOnce(String) -> Gate,
        identity: Identity,
        share: f64,
        source: Source,
    ) {
        let gate = gate(self.desk.world.user(&actor));
        let user = match gate {
            Gate::Producer(_) | Gate::Kcat(_) => None,
            _ => Some(actor.clone()),
        };
        let rate = (self.cast.rate * share).max(0.2);
        let publisher = Publisher {
            actor,
            user,
            gate,
            source,
            identity,
            rate,
        };
        self.talk(|desk, random| publisher.run(desk, random));
    }

    fn steps(&self, channels: &[String], bytes: usize) -> Source {
        let whisper = (0..8).map(|at| format!("ws-{at}")).collect();
        Source::Steps {
            channels: channels.to_vec(),
            bytes,
            whisper,
        }
    }

    fn gateways(&mut self) {
        let open_socket = |token| Gate::Socket { token, open: None };
        let channels = self.channels;
        for at in 0..4 {
            let source = self.steps(&channels.busy[at * 8..at * 8 + 8], 60);
            self.publisher(
                format!("outbox-{at}"),
                open_socket,
                Identity::Outbox,
                0.02,
                source,
            );
        }
        for at in 0..2 {
            let source = self.steps(&channels.busy, 40);
            self.publisher(format!("ids-{at}"), open_socket, Identity::Id, 0.02, source);
            let source = self.steps(&channels.busy, 40);
            let single = |token| Gate::Single { token };
            self.publisher(format!("http-{at}"), single, Identity::Id, 0.01, source);
            let batch = |token| Gate::Batch { token };
            let identity = if at == 0 {
                Identity::Outbox
            } else {
                Identity::Id
            };
            let source = self.steps(&channels.busy, 60);
            self.publisher(format!("batch-{at}"), batch, identity, 0.12, source);
        }
        let single = |token| Gate::Single { token };
        let source = self.steps(&channels.quiet, 40);
        self.publisher("nameless".into(), single, Identity::Nothing, 0.002, source);
        let source = self.steps(&channels.quiet, 40);
        self.publisher("quiet".into(), single, Identity::Outbox, 0.002, source);
        let source = self.steps(&channels.fat, 6_000);
        let batch = |token| Gate::Batch { token };
        self.publisher("fat".into(), batch, Identity::Outbox, 0.02, source);
        let source = self.steps(&channels.hot, 40);
        self.publisher(
            "hot-outbox".into(),
            open_socket,
            Identity::Outbox,
            0.03,
            source,
        );
    }

    fn backends(&mut self) {
        let channels = self.channels;
        let world = &self.desk.world;
        for (at, cloud) in [false, true].into_iter().enumerate() {
            let gate = Gate::Producer(Producer::new(world, cloud));
            let mut everywhere = channels.busy.clone();
            everywhere.extend(channels.hot.iter().cycle().take(24).cloned());
            let source = plain(&everywhere, 50);
            self.publisher(
                format!("rdkafka-{at}"),
                |_| gate,
                Identity::Id,
                0.22,
                source,
            );
        }
        let gate = Gate::Kcat(Kcat::new(world));
        let source = plain(&channels.hot, 50);
        self.publisher("kcat".into(), |_| gate, Identity::Id, 0.1, source);
    }

    fn jobs(&mut self) {
        let channels = self.channels;
        let token = self.desk.world.backend();
        for at in 0..2 {
            let publisher = Publisher {
                actor: format!("worker-{at}"),
                user: Some("backend".into()),
                gate: Gate::Batch {
                    token: token.clone(),
                },
                source: Source::Jobs {
                    channels: channels.jobs.clone(),
                },
                identity: if at == 0 {
                    Identity::Outbox
                } else {
                    Identity::Id
                },
                rate: (self.cast.rate * 0.01).max(1.0),
            };
            self.talk(|desk, random| publisher.run(desk, random));
        }
        for at in 0..2 {
            let wants = channels
                .jobs
                .iter()
                .skip(at * 4)
                .take(4)
                .map(|channel| Want {
                    snapshot: self.cast.snapshots,
                    ..Want::all(channel.clone(), Since::Latest)
                });
            let reader = SocketReader {
                actor: format!("jobs-{at}"),
                user: "backend".into(),
                token: token.clone(),
                wants: wants.collect(),
                manner: Manner {
                    hop: Some(Duration::from_secs(6)),
                    ..Manner::default()
                },
            };
            self.listen(|desk, random| reader.run(desk, random));
        }
    }

    fn hostile(&mut self) {
        let channels = self.channels;
        let source = self.steps(&channels.hostile, 20);
        let open_socket = |token| Gate::Socket { token, open: None };
        self.publisher(
            "victim".into(),
            open_socket,
            Identity::Outbox,
            0.005,
            source,
        );
        let wants = channels
            .hostile
            .iter()
            .map(|channel| Want::all(channel.clone(), Since::Earliest));
        self.socket("ws-hostile".into(), wants.collect(), Manner::default());
        let actor = "hostile".to_owned();
        let hostile = Hostile {
            token: self.desk.world.user(&actor),
            user: actor.clone(),
            actor,
            channels: channels.hostile.clone(),
            victim: "box-victim".into(),
            kafka: Producer::new(&self.desk.world, false),
            every: Duration::from_millis(300),
        };
        self.talk(|desk, random| hostile.run(desk, random));
    }

    fn probes(&mut self) -> Paths {
        let world = &self.desk.world;
        let paths = Paths::new(world.ingest.len(), world.fanout.len());
        let token = self.desk.world.user("probe");
        for (gateway, channel) in self.channels.probes.iter().enumerate() {
            let sender = Sender {
                gateway,
                channel: channel.clone(),
                user: "probe".into(),
                token: token.clone(),
            };
            self.talk(|desk, random| sender.run(desk, random));
        }
        for node in 0..self.desk.world.fanout.len() {
            let receiver = Receiver {
                node,
                channels: self.channels.probes.clone(),
                token: token.clone(),
                paths: paths.clone(),
            };
            self.listen(|desk, random| receiver.run(desk, random));
        }
        let wants = self
            .channels
            .probes
            .iter()
            .map(|channel| Want::all(channel.clone(), Since::Earliest));
        let wants = wants.collect();
        self.socket("ws-probe".into(), wants, Manner::default());
        paths
    }
}

/// Without addressees.
fn plain(channels: &[String], bytes: usize) -> Source {
    Source::Steps {
        channels: channels.to_vec(),
        bytes,
        whisper: Vec::new(),
    }
}
