//! What a case stands on: a log with topics of its own, gateways with their HTTP ports, and tokens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{EmbeddedConfig, KafkaConfig, Log, Pin, PinError, PinWatch, Pins, TopicSpec, pin};
use ingest::{Edge, Gateway, IngestConfig, Parts, Tokens, alone};
use protocol::access::Namespaces;
use protocol::token::{Claims, Use, Verifier, VerifierConfig, mint};
use protocol::{Cursors, Identity};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use schemas::Topics;
use service::origin::Origins;
use service::{Metrics, ServeConfig, Shutdown};
use store::Store;
use tempfile::TempDir;
use testbed::until;

/// No single step of a case may take longer.
pub const DEADLINE: Duration = Duration::from_secs(30);
pub const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
/// How long production waits for a body.
const BODY: Duration = Duration::from_secs(10);
pub const ORIGIN: &str = "https://app.example";
/// Partitions of every topic.
pub const PARTITIONS: u32 = 3;

/// librdkafka's own broker double.
pub type Double = MockCluster<'static, DefaultProducerContext>;

pub struct World {
    pub log: Log,
    pub topics: Topics,
    pub pins: Pins,
    pub cursors: Cursors,
    _dir: Option<TempDir>,
}

/// A gateway and its port.
pub struct Node {
    pub gateway: Gateway,
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    /// Looks at the topics when the test says so.
    pub watch: PinWatch,
    pub metrics: Metrics,
}

impl World {
    pub async fn kafka() -> World {
        let address = std::env::var("RIVERMOUTH_TEST_KAFKA").expect(
            "RIVERMOUTH_TEST_KAFKA is not set: run `make test`, or `scripts/kafka.sh start DIR` and export what it prints",
        );
        World::at(&address).await
    }

    /// On the Kafka at this address.
    pub async fn at(bootstrap: &str) -> World {
        let log = Log::kafka(KafkaConfig::new(bootstrap)).await.unwrap();
        World::on(log, None).await
    }

    pub async fn embedded() -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::embedded(EmbeddedConfig::new(dir.path().join("log")))
            .await
            .unwrap();
        World::on(log, Some(dir)).await
    }

    /// On librdkafka's broker double, which knows nothing of identities: the pins are made up.
    pub async fn double(mock: &Double) -> World {
        let topics = Topics::new("it");
        let names = [topics.events(), topics.signals(), topics.jobs()];
        let pin = |name: &&str| {
            let partitions = i32::try_from(PARTITIONS).unwrap();
            mock.create_topic(name, partitions, 1).unwrap();
            let pin = Pin {
                id: "made up".to_owned(),
                partitions: PARTITIONS,
                generation: 0,
            };
            ((*name).to_owned(), pin)
        };
        let pins = Pins {
            cursor_key: [7; 16],
            topics: names.iter().map(pin).collect(),
        };
        World {
            log: Log::kafka(KafkaConfig::new(mock.bootstrap_servers()))
                .await
                .unwrap(),
            cursors: Cursors::new(pins.cursor_key),
            topics,
            pins,
            _dir: None,
        }
    }

    /// The same topics over another way to the same Kafka.
    pub async fn past(&self, bootstrap: &str) -> World {
        World {
            log: Log::kafka(KafkaConfig::new(bootstrap)).await.unwrap(),
            topics: self.topics.clone(),
            pins: self.pins.clone(),
            cursors: self.cursors.clone(),
            _dir: None,
        }
    }

    async fn on(log: Log, dir: Option<TempDir>) -> World {
        let topics = Topics::new(&format!("it-{}", uuid::Uuid::new_v4().simple()));
        let spec = |name: &str, partitions: u32, compact: bool| TopicSpec {
            name: name.to_owned(),
            partitions,
            replication: -1,
            retention_ms: None,
            retention_bytes: None,
            compact,
        };
        let specs = [
            spec(topics.events(), PARTITIONS, false),
            spec(topics.signals(), PARTITIONS, false),
            spec(topics.jobs(), PARTITIONS, false),
            spec(topics.state(), 1, true),
        ];
        // A busy broker may not answer in time, and is asked again.
        let made = until("the topics", || async {
            match log.ensure_topics(&specs, true).await {
                Err(error) if error.retryable() => None,
                made => Some(made),
            }
        });
        made.await.unwrap();
        let pinned = [topics.events(), topics.signals(), topics.jobs()];
        let pins = until("the pins", || async {
            match pin(&log, topics.state(), &pinned).await {
                Err(PinError::Broker(error)) if error.retryable() => None,
                Err(PinError::Append(_)) => None,
                pins => Some(pins),
            }
        });
        let pins = pins.await.unwrap();
        World {
            cursors: Cursors::new(pins.cursor_key),
            log,
            topics,
            pins,
            _dir: dir,
        }
    }

    /// A node as production starts it, but for PostgreSQL.
    pub async fn node(&self) -> Node {
        self.node_with(IngestConfig::default(), self.pins.clone())
            .await
    }

    /// A node beside a persister that writes to this store.
    pub async fn node_on(&self, store: Store) -> Node {
        let pins = self.pins.clone();
        self.start(IngestConfig::default(), pins, Some(store), BODY)
            .await
    }

    /// A node that gives up bodies after this time.
    pub async fn impatient_node(&self, body_deadline: Duration) -> Node {
        let pins = self.pins.clone();
        self.start(IngestConfig::default(), pins, None, body_deadline)
            .await
    }

    pub async fn node_with(&self, config: IngestConfig, pins: Pins) -> Node {
        self.start(config, pins, None, BODY).await
    }

    async fn start(
        &self,
        config: IngestConfig,
        pins: Pins,
        store: Option<Store>,
        body_deadline: Duration,
    ) -> Node {
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let watch = PinWatch::new(self.log.clone(), &pins);
        let parts = Parts {
            log: self.log.clone(),
            topics: self.topics.clone(),
            watch: watch.clone(),
            pins,
            cursors: self.cursors.clone(),
            namespaces: Namespaces::default(),
            store,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let gateway = Gateway::start(config, parts).await.unwrap();
        let edge = Edge {
            tokens: Arc::new(Tokens::new(verifier())),
            origins: Arc::new(Origins::new([ORIGIN]).unwrap()),
            body_deadline,
        };
        let listener = service::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let app = alone(gateway.clone(), edge);
        let (counted, stop) = (metrics.clone(), shutdown.clone());
        tokio::spawn(async move {
            service::serve(listener, app, ServeConfig::default(), &counted, stop).await
        });
        Node {
            gateway,
            address,
            shutdown,
            watch,
            metrics,
        }
    }
}

impl Node {
    /// What its metric of this name says.
    pub fn number(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let number = line.unwrap_or_else(|| panic!("{name} is not told"));
        number.parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.start();
    }
}

fn verifier() -> Verifier {
    Verifier::new(VerifierConfig::hs256(SECRET).unwrap()).unwrap()
}

/// A token that is good for an hour.
pub fn token(sub: &str, roles: &[(&str, &str)], caps: &[&str]) -> String {
    let roles: BTreeMap<String, String> = roles
        .iter()
        .map(|(pattern, role)| ((*pattern).to_owned(), (*role).to_owned()))
        .collect();
    let claims = Claims {
        roles,
        caps: caps.iter().map(|cap| (*cap).to_owned()).collect(),
        ..Claims::new(sub, service::http::now_ms() / 1_000 + 3_600)
    };
    mint(SECRET, &claims).unwrap()
}

pub fn player(sub: &str) -> String {
    token(sub, &[("session.*", "player"), ("docs.*", "editor")], &[])
}

pub fn backend() -> String {
    token("worker", &[], &["backend"])
}

/// The identity in a token, for calls that do not go over HTTP.
pub fn identity(token: &str) -> Arc<Identity> {
    Arc::new(
        verifier()
            .verify(token, service::http::now_ms(), Use::Request)
            .unwrap(),
    )
}
