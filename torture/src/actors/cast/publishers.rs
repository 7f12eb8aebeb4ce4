//! Who publishes, works and means harm.

use std::time::Duration;

use super::super::backend::{Kcat, Producer};
use super::super::gate::Gate;
use super::super::hostile::Hostile;
use super::super::manner::Manner;
use super::super::notebook::Want;
use super::super::probe::{Paths, Receiver, Sender};
use super::super::publisher::{Identity, Publisher};
use super::super::socket::SocketReader;
use super::super::source::Source;
use super::super::states::Asker;
use super::Casting;
use crate::evidence::Since;

impl Casting<'_> {
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

    pub(super) fn gateways(&mut self) {
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

    pub(super) fn backends(&mut self) {
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

    pub(super) fn jobs(&mut self) {
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
        if self.cast.snapshots {
            let asker = Asker {
                actor: "asker".into(),
                token,
                channels: channels.jobs.clone(),
                every: Duration::from_millis(600),
            };
            self.talk(|desk, random| asker.run(desk, random));
        }
    }

    pub(super) fn hostile(&mut self) {
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

    pub(super) fn probes(&mut self) -> Paths {
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
