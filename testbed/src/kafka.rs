//! Kafka for a test: a prefix of its own on the shared one, or brokers of its own that may be killed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::environment::{needed, workspace};
use crate::proxy::Proxy;

/// A Kafka to use, with the prefix under which this test's topics are.
pub struct Broker {
    bootstrap: String,
    prefix: String,
    /// Of the foreign records, once there is one.
    foreign: OnceLock<FutureProducer>,
    /// Brokers of this test alone, stopped when dropped.
    own: Option<Cluster>,
    /// One before each broker, when there are any.
    proxies: Vec<Proxy>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({}, {})", self.bootstrap, self.prefix)
    }
}

impl Broker {
    /// A prefix on the shared Kafka; its topics are deleted at the end.
    pub(crate) fn shared(prefix: &str) -> Broker {
        Broker::new(needed("RIVERMOUTH_TEST_KAFKA"), prefix, None, Vec::new())
    }

    /// A prefix on brokers that others use as well.
    pub(crate) fn of(cluster: &Cluster, prefix: &str) -> Broker {
        Broker::new(cluster.bootstrap(), prefix, None, Vec::new())
    }

    /// Brokers of its own.
    pub(crate) fn own(brokers: u32, prefix: &str) -> Broker {
        let cluster = Cluster::start(brokers);
        Broker::new(cluster.bootstrap(), prefix, Some(cluster), Vec::new())
    }

    /// Brokers of its own, each with a proxy before it that the services have to pass.
    pub(crate) fn proxied(brokers: u32, prefix: &str) -> Broker {
        let (cluster, proxies) = Cluster::behind_proxies(brokers);
        Broker::new(cluster.bootstrap(), prefix, Some(cluster), proxies)
    }

    fn new(bootstrap: String, prefix: &str, own: Option<Cluster>, proxies: Vec<Proxy>) -> Broker {
        Broker {
            bootstrap,
            prefix: prefix.to_owned(),
            foreign: OnceLock::new(),
            own,
            proxies,
        }
    }

    /// `host:port[,host:port]`, past the proxies.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The address the services get: that of the proxies, when there are any.
    pub fn entry(&self) -> String {
        if self.proxies.is_empty() {
            return self.bootstrap.clone();
        }
        let addresses: Vec<String> = self.proxies.iter().map(Proxy::address).collect();
        addresses.join(",")
    }

    /// The proxies between the services and each broker (that of broker 1 first); none without
    /// [`Bed::behind_proxies`](crate::Bed::behind_proxies).
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// What this test's topics begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of one of this test's topics: `topic("events")`.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Writes one record past all of our own code, as a foreign producer would, and gives its place. Without a
    /// partition the key's hash decides, as the Java client has it.
    pub async fn produce(&self, topic: &str, record: Foreign<'_>) -> (i32, i64) {
        let producer = self.foreign.get_or_init(|| {
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", &self.bootstrap)
                .set("partitioner", "murmur2_random")
                .set("linger.ms", "0");
            config.create().expect("a producer can be made")
        });
        let mut headers = OwnedHeaders::new();
        for (key, value) in record.headers {
            headers = headers.insert(Header {
                key,
                value: Some(*value),
            });
        }
        let mut sent = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        sent.key = record.key;
        sent.payload = record.value;
        sent.partition = record.partition;
        let delivery = producer.send(sent, Duration::from_secs(30)).await;
        let delivery = delivery
            .map_err(|(error, _)| error)
            .expect("Kafka takes a record");
        (delivery.partition, delivery.offset)
    }

    /// Writes records of a key and a value, each key's in order, as fast as Kafka takes them.
    pub async fn pour(&self, topic: &str, records: impl IntoIterator<Item = (String, String)>) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "1000000")
            .set("linger.ms", "5");
        let producer: FutureProducer = config.create().expect("a producer can be made");
        let mut deliveries = Vec::new();
        for (key, value) in records {
            let record = FutureRecord::to(topic).key(&key).payload(&value);
            let delivery = producer.send_result(record);
            deliveries.push(delivery.map_err(|(error, _)| error).expect("there is room"));
        }
        for delivery in deliveries {
            let taken = delivery.await.expect("the producer answers");
            taken
                .map_err(|(error, _)| error)
                .expect("Kafka takes a record");
        }
    }

    /// Erases a partition's records before `offset`, as retention would.
    pub async fn erase(&self, topic: &str, partition: i32, offset: i64) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        let admin: AdminClient<DefaultClientContext> =
            config.create().expect("an admin client can be made");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("an offset is valid");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        admin
            .delete_records(&list, &options)
            .await
            .expect("Kafka erases records");
    }

    /// The brokers, when they belong to this test.
    pub fn cluster(&self) -> &Cluster {
        self.own
            .as_ref()
            .expect("this test asked for brokers of its own")
    }
}

/// A record as a foreign producer writes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Foreign<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Where to; none leaves it to the key.
    pub partition: Option<i32>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.own.is_some() {
            return;
        }
        let (bootstrap, prefix) = (self.bootstrap.clone(), self.prefix.clone() + ".");
        // Deleting wants a runtime of its own: this may run inside one that is going down.
        let cleaning = std::thread::spawn(move || delete_topics(&bootstrap, &prefix));
        if cleaning.join().is_err() {
            println!("the topics of {} could not be deleted", self.prefix);
        }
    }
}

fn delete_topics(bootstrap: &str, prefix: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let consumer: BaseConsumer = config.create().expect("a consumer can be made");
    let Ok(metadata) = consumer.fetch_metadata(None, Duration::from_secs(10)) else {
        return;
    };
    let names: Vec<&str> = metadata
        .topics()
        .iter()
        .map(|topic| topic.name())
        .filter(|name| name.starts_with(prefix))
        .collect();
    if names.is_empty() {
        return;
    }
    let admin: AdminClient<DefaultClientContext> =
        config.create().expect("an admin client can be made");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    // What stays behind stays under a random name and goes with the shared Kafka.
    let _ = runtime.block_on(admin.delete_topics(&names, &options));
}

/// Kafka brokers of one test, kept by `scripts/kafka.sh`.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
}

impl Cluster {
    /// Starts 1 or 3 brokers and waits until they answer.
    pub fn start(brokers: u32) -> Cluster {
        let dir =
            TempDir::with_prefix("rivermouth-kafka-").expect("a temporary directory can be made");
        let cluster = Cluster { dir };
        cluster.script(&["start"], &["--brokers", &brokers.to_string()]);
        cluster
    }

    /// The same with a proxy before each broker (that of broker 1 first): who comes through the proxies is kept
    /// there by the metadata, everybody else is not. Needs a tokio runtime.
    pub fn behind_proxies(brokers: u32) -> (Cluster, Vec<Proxy>) {
        let dir =
            TempDir::with_prefix("rivermouth-kafka-").expect("a temporary directory can be made");
        let cluster = Cluster { dir };
        let proxies: Vec<Proxy> = (0..brokers).map(|_| Proxy::listen()).collect();
        let ports: Vec<String> = proxies.iter().map(|p| p.port().to_string()).collect();
        cluster.script(
            &["start"],
            &[
                "--brokers",
                &brokers.to_string(),
                "--advertise",
                &ports.join(","),
            ],
        );
        let behind = std::fs::read_to_string(cluster.dir.path().join("behind"))
            .expect("a cluster behind proxies says where");
        for (proxy, address) in proxies.iter().zip(behind.trim().split(',')) {
            proxy.forward(address);
        }
        (cluster, proxies)
    }

    /// `host:port[,host:port]`.
    pub fn bootstrap(&self) -> String {
        let file = self.dir.path().join("bootstrap");
        std::fs::read_to_string(file)
            .expect("a started cluster has an address")
            .trim()
            .to_owned()
    }

    /// kill -9 of broker `number` (from 1).
    pub fn kill_9(&self, number: u32) {
        self.script(&["kill"], &[&number.to_string()]);
    }

    /// SIGSTOP of broker `number`: it stands still, its connections stay open.
    pub fn pause(&self, number: u32) {
        self.script(&["pause"], &[&number.to_string()]);
    }

    /// SIGCONT of broker `number`.
    pub fn go_on(&self, number: u32) {
        self.script(&["resume"], &[&number.to_string()]);
    }

    /// The file that holds a partition's first records at broker `number`: for cutting it while the broker is dead.
    pub fn segment(&self, number: u32, topic: &str, partition: i32) -> PathBuf {
        let partition = format!("data-{number}/{topic}-{partition}");
        self.dir
            .path()
            .join(partition)
            .join("00000000000000000000.log")
    }

    /// Starts broker `number` again (stops it first when it runs) and waits until it answers.
    pub fn restart(&self, number: u32) {
        self.script(&["restart"], &[&number.to_string()]);
    }

    /// Makes broker `number` the leader of a topic's partitions, of which every broker must have a replica.
    pub fn lead(&self, topic: &str, partitions: i32, number: u32) {
        let (partitions, number) = (partitions.to_string(), number.to_string());
        self.script(&["topic"], &["lead", topic, &partitions, &number]);
    }

    /// Changes settings of a topic (`retention.ms=1000`), the others staying as they are.
    pub fn set(&self, topic: &str, settings: &[&str]) {
        let after: Vec<&str> = ["set", topic]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        self.script(&["topic"], &after);
    }

    fn script(&self, before: &[&str], after: &[&str]) {
        run(
            &workspace().join("scripts/kafka.sh"),
            before,
            self.dir.path(),
            after,
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopping = Command::new(workspace().join("scripts/kafka.sh"))
            .arg("stop")
            .arg(self.dir.path())
            .output();
        if let Err(error) = stopping {
            println!("brokers could not be stopped: {error}");
        }
    }
}

fn run(script: &PathBuf, before: &[&str], dir: &Path, after: &[&str]) {
    // The script answers in seconds and the callers wait for nothing else meanwhile, so it may block; its
    // brokers must not hold our pipes open, so its output goes to files.
    let (out, err) = (dir.join("script.out"), dir.join("script.err"));
    let file = |path: &PathBuf| std::fs::File::create(path).expect("a file can be made");
    let status = Command::new(script)
        .args(before)
        .arg(dir)
        .args(after)
        .stdout(file(&out))
        .stderr(file(&err))
        .status();
    let status = status.unwrap_or_else(|error| panic!("scripts/kafka.sh does not run: {error}"));
    let said = || std::fs::read_to_string(&err).unwrap_or_default();
    assert!(
        status.success(),
        "scripts/kafka.sh {before:?} {after:?}: {}",
        said()
    );
}
