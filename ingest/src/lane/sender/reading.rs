//! What is read back of the partition, on its way to the ledger.

use broker::Record;
use schemas::{Channel, Decoder, Incoming};
use tokio::sync::mpsc;

use super::Run;
use crate::lane::job::{Claim, Identity};
use crate::lane::tail::Batch;
use crate::lane::track::Seen;

impl Run {
    pub(super) fn read(&mut self, batch: Option<Batch>) {
        let Some(batch) = batch else {
            // The reading task is gone: only at the end of the process.
            self.batches = None;
            return;
        };
        for record in &batch.records {
            self.saw(batch.session, record);
        }
        match batch.next {
            Some(next) => self.ledger.advanced(batch.session, next),
            None => self.ledger.tail_failed(batch.session),
        }
    }

    fn saw(&mut self, session: u64, record: &Record) {
        // Most records are of channels that nobody asks about: do not decode those.
        if !channel_of(&self.sender.decoder, record)
            .is_some_and(|channel| self.ledger.tracks(&channel))
        {
            return;
        }
        let incoming = Incoming {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key.as_deref(),
            headers: &record.headers,
            value: record.value.as_ref(),
        };
        // What cannot be decoded counts for nobody.
        let Ok(event) = self.sender.decoder.decode(incoming) else {
            return;
        };
        let Some(outbox) = event.outbox else {
            return;
        };
        let seen = Seen {
            claim: Claim {
                identity: Identity {
                    user: event.user_id,
                    producer: outbox.producer,
                },
                epoch: outbox.epoch,
                seq: outbox.seq,
            },
            id: event.id,
        };
        self.ledger.saw(
            session,
            &event.channel,
            &seen,
            record.offset,
            record.timestamp_ms,
        );
    }
}

pub(super) async fn next_batch(batches: &mut Option<mpsc::Receiver<Batch>>) -> Option<Batch> {
    match batches {
        Some(batches) => batches.recv().await,
        None => std::future::pending().await,
    }
}

/// The channel a record says it is of, without judging the record.
fn channel_of(decoder: &Decoder, record: &Record) -> Option<Channel> {
    let named = record.headers.iter().find(|(name, _)| name == "rm-channel");
    match named {
        Some((_, channel)) => Channel::parse(std::str::from_utf8(channel).ok()?).ok(),
        None => {
            let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
            decoder.topics().default_channel(&record.topic, key).ok()
        }
    }
}
