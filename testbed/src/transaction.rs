//! A backend that writes in Kafka transactions, past all of our own code.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

const CALL: Duration = Duration::from_secs(60);

/// One transactional producer. Its calls block, for at most a minute each: use them off the runtime's threads.
pub struct Transactions(ThreadedProducer<DefaultProducerContext>);

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").finish_non_exhaustive()
    }
}

impl Transactions {
    /// Fences every older producer of the same name.
    pub fn start(bootstrap: &str, name: &str) -> Transactions {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("transactional.id", name)
            .set("partitioner", "murmur2_random")
            .create()
            .expect("a producer can be made");
        producer
            .init_transactions(CALL)
            .expect("Kafka knows transactions");
        Transactions(producer)
    }

    /// Begins a transaction and writes these keys and values; they are in the log when it returns, and nobody may see
    /// them yet.
    pub fn write(&self, topic: &str, records: &[(&str, String)]) {
        self.0.begin_transaction().expect("one at a time");
        for (key, value) in records {
            let record = BaseRecord::to(topic).key(*key).payload(value);
            let sent = self.0.send(record).map_err(|(error, _)| error);
            sent.expect("the queue has room");
        }
        self.0.flush(CALL).expect("Kafka takes the records");
    }

    /// From now on everybody sees them.
    pub fn commit(&self) {
        self.0.commit_transaction(CALL).expect("Kafka commits");
    }

    /// Nobody ever sees them.
    pub fn abort(&self) {
        self.0.abort_transaction(CALL).expect("Kafka aborts");
    }
}
