//! What the measurements of one sitting share: one Kafka, one PostgreSQL, and the wish for how long.

use std::time::{Duration, Instant};

use nix::unistd::getppid;
use testbed::{Bed, Cluster, Server};
use tokio::time::interval;

use super::latency::Plain;
use super::traffic::PAYLOAD;
use super::{Arguments, Engine};
use crate::load::{Kafka, Watched};
use crate::machine::children_of;
use crate::payload::Mark;
use crate::results::{Lengths, Point, Results};

/// New brokers are warmed as many times as long as a measurement.
const YOUTH: u32 = 30;
/// Events written every five milliseconds meanwhile.
const AT_ONCE: u32 = 25;

/// A sitting. Its servers are started when first needed and stopped with it.
#[derive(Debug)]
pub struct Sitting {
    /// What was asked for.
    pub arguments: Arguments,
    /// The how many-th time the scenario is taken.
    pub repeat: u32,
    results: Results,
    /// Measurements that were kept.
    kept: usize,
    /// A measurement that was begun and is not kept yet.
    begun: Option<Point>,
    /// The processes of the brokers.
    brokers: Vec<i32>,
    // Worlds are gone before these.
    cluster: Option<Cluster>,
    server: Option<Server>,
}

impl Sitting {
    /// Nothing runs yet.
    pub fn new(arguments: Arguments) -> anyhow::Result<Sitting> {
        let binary = &arguments.binary;
        anyhow::ensure!(
            std::path::Path::new(binary).exists(),
            "{binary} is not there: build it with `cargo build --release -p rivermouth`, or name another with --binary"
        );
        let results = Results::open(&arguments.results)?;
        Ok(Sitting {
            arguments,
            repeat: 0,
            results,
            kept: 0,
            begun: None,
            brokers: Vec::new(),
            cluster: None,
            server: None,
        })
    }

    /// Begins a measurement: when what follows fails, this is what is void.
    pub fn begin(&mut self, scenario: &str, engine: &str) -> Point {
        self.begun.insert(Point::new(scenario, engine)).clone()
    }

    /// Prints a measurement and writes it down.
    pub fn keep(&mut self, mut point: Point) -> anyhow::Result<()> {
        let Arguments {
            time,
            warm_up,
            divide,
            ..
        } = self.arguments;
        point.repeat = self.repeat;
        point.lengths = Some(Lengths {
            time_s: time.as_secs_f64(),
            warm_up_s: warm_up.as_secs_f64(),
            divide,
        });
        println!("{point}");
        self.kept += 1;
        self.begun = None;
        self.results.add(point)
    }

    /// Writes down that what was begun came to nothing, and why.
    pub fn fail(&mut self, why: &anyhow::Error) -> anyhow::Result<()> {
        match self.begun.take() {
            Some(point) => self.keep(point.failed(format!("{why:#}"))),
            None => Ok(()),
        }
    }

    /// How many measurements have been kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// An error when anything was wrong in any of them.
    pub fn void(&self) -> anyhow::Result<()> {
        self.results.void()
    }

    /// The wanted ones of `engines`.
    pub fn engines(&self, engines: &[Engine]) -> Vec<Engine> {
        let wanted = &self.arguments.engines;
        let engines = engines.iter().copied();
        engines
            .filter(|engine| wanted.is_empty() || wanted.contains(engine))
            .collect()
    }

    /// The wanted ones of `engines`, and after them the peers that were asked for.
    pub fn engines_and_peers(&self, engines: &[Engine]) -> Vec<Engine> {
        let wanted = &self.arguments;
        let mut engines = self.engines(engines);
        let peers = Engine::PEERS.into_iter();
        engines.extend(peers.filter(|peer| wanted.peers || wanted.engines.contains(peer)));
        engines
    }

    /// So many clients, divided as asked for.
    pub fn clients(&self, count: u32) -> u32 {
        (count / self.arguments.divide).max(10)
    }

    /// A server under test, and the brokers that it needs.
    pub fn watched(&self, server: i32) -> Vec<Watched> {
        let brokers = self.brokers.iter().map(|pid| Watched::new("kafka", *pid));
        std::iter::once(Watched::server(server))
            .chain(brokers)
            .collect()
    }

    /// The process of PostgreSQL that starts all its others; it runs once there has been a world.
    pub fn postgres(&self) -> i32 {
        self.server.as_ref().map_or(0, Server::pid)
    }

    /// A fresh world on the shared brokers and the shared PostgreSQL, with limits that a crowd from one address needs.
    pub async fn bed(&mut self) -> anyhow::Result<Bed> {
        if self.cluster.is_none() {
            // In a world of its own: nothing of it is in those that are measured.
            let bed = self.world().await?;
            self.warm_brokers(&bed).await?;
        }
        self.world().await
    }

    async fn world(&mut self) -> anyhow::Result<Bed> {
        let cluster = match &mut self.cluster {
            Some(cluster) => cluster,
            none => {
                // The script that starts brokers ends, and the keeper adopts them.
                let keeper = getppid().as_raw();
                let before = children_of(keeper)?;
                let cluster = none.insert(Cluster::start(1));
                self.brokers = children_of(keeper)?;
                self.brokers.retain(|pid| !before.contains(pid));
                cluster
            }
        };
        let server = match &mut self.server {
            Some(server) => server,
            none => none.insert(Server::start_with(SETTINGS).await),
        };
        let mut bed = Bed::on(&self.arguments.binary, cluster, server).await;
        for name in [
            "RATE_LIMIT_MESSAGES_PER_SECOND",
            "RIVERMOUTH_PUBLISH_BURST",
            "RIVERMOUTH_CHAT_PER_MINUTE",
            "RATE_LIMIT_CONNECTIONS_PER_IP",
            "RIVERMOUTH_CONNECTIONS_MAX",
        ] {
            bed.set(name, "1000000");
        }
        Ok(bed)
    }

    /// A young JVM compiles while it works, on the processor that the load needs: whoever came first would be measured
    /// against slower brokers than the others.
    async fn warm_brokers(&self, bed: &Bed) -> anyhow::Result<()> {
        let (bootstrap, topic) = (bed.broker().bootstrap(), bed.broker().topic("events"));
        // The first service of a world makes its topics.
        bed.start("ingest").await.terminate().await;
        let mut kafka = Kafka::new(bootstrap, &topic, 1)?;
        let reader = Plain::start(bootstrap, &topic, Instant::now())?;
        let mark = Mark {
            sender: 0,
            number: 0,
            due_ns: 0,
        };
        let mut payload = Vec::new();
        mark.write(PAYLOAD, &mut payload);
        let mut pace = interval(Duration::from_millis(5));
        let end = Instant::now() + self.arguments.warm_up * YOUTH;
        while Instant::now() < end {
            pace.tick().await;
            for channel in 0..AT_ONCE {
                kafka.publish(channel, &payload)?;
            }
            kafka.collect();
        }
        kafka.flush()?;
        reader.stop(0).map(drop)
    }
}

/// As safe as in production, and with the memory of a small one.
const SETTINGS: &[&str] = &[
    "max_connections=100",
    "fsync=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
];
