//! Reads the log as every reader does: decoded, and judged by the acceptance rule.

use std::collections::HashMap;

use broker::{BrokerError, Fetched, Record};
use protocol::Position;
use schemas::{Channel, Decoder, Event, Incoming, partition_of};
use state::{ChannelState, Judged};
use testbed::until;

use crate::world::{DEADLINE, PARTITIONS, World};

/// A record of the log, decoded.
pub struct Read {
    pub record: Record,
    pub event: Event,
}

impl World {
    /// Everything in a topic, partition by partition.
    pub async fn read(&self, topic: &str) -> Vec<Read> {
        let decoder = Decoder::new(self.topics.clone());
        let mut out = Vec::new();
        for partition in 0..i32::try_from(PARTITIONS).unwrap() {
            for record in self.records(topic, partition).await {
                let event = decoder
                    .decode(Incoming {
                        topic,
                        partition,
                        offset: record.offset,
                        key: record.key.as_deref(),
                        headers: &record.headers,
                        value: record.value.as_ref(),
                    })
                    .unwrap();
                out.push(Read { record, event });
            }
        }
        out
    }

    async fn records(&self, topic: &str, partition: i32) -> Vec<Record> {
        // A question has two seconds; a busy broker is asked again.
        let marks = until("where the log ends", || async {
            let marks = self.log.watermarks(topic, partition).await;
            (!marks.as_ref().is_err_and(BrokerError::retryable)).then_some(marks)
        });
        let marks = marks.await.unwrap();
        let mut reader = self.log.reader().unwrap();
        reader.assign(topic, partition, marks.low).unwrap();
        let mut out = Vec::new();
        loop {
            let items = tokio::time::timeout(DEADLINE, reader.next(1_000))
                .await
                .unwrap()
                .unwrap();
            for item in items {
                match item {
                    Fetched::Record(record) => out.push(record),
                    Fetched::End { next, .. } if next >= marks.high => return out,
                    Fetched::End { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// The events of a channel that count, with the offsets of their records, in order.
    pub async fn accepted(&self, channel: &str) -> Vec<(i64, Event)> {
        let channel = Channel::parse(channel).unwrap();
        let mut state = ChannelState::new();
        let mut out = Vec::new();
        for read in self.read(self.topics.events()).await {
            if read.event.channel != channel {
                continue;
            }
            let judged = state.judge(&read.event, read.record.offset, read.record.timestamp_ms);
            if let Judged::Accepted { .. } = judged {
                out.push((read.record.offset, read.event));
            }
        }
        out
    }

    /// Where the event of a cursor stands.
    pub fn place(&self, channel: &str, cursor: &str) -> Position {
        self.cursors
            .decode(&Channel::parse(channel).unwrap(), cursor)
            .unwrap()
    }

    /// The partition of a channel.
    pub fn partition(&self, channel: &str) -> i32 {
        partition_of(Channel::parse(channel).unwrap().id().as_bytes(), PARTITIONS)
    }
}

/// How many records count, each judged in its channel.
pub fn counted(read: &[Read]) -> usize {
    let mut channels = HashMap::new();
    let judged = read.iter().filter(|read| {
        let (event, record) = (&read.event, &read.record);
        let state = channels
            .entry(event.channel.clone())
            .or_insert_with(ChannelState::new);
        let judged = state.judge(event, record.offset, record.timestamp_ms);
        matches!(judged, Judged::Accepted { .. })
    });
    judged.count()
}

/// How many events of each outbox and number there are.
pub fn numbers(events: &[(i64, Event)]) -> HashMap<(String, u64, u64), usize> {
    let mut out = HashMap::new();
    for (_, event) in events {
        if let Some(outbox) = &event.outbox {
            *out.entry((outbox.producer.clone(), outbox.epoch, outbox.seq))
                .or_default() += 1;
        }
    }
    out
}
