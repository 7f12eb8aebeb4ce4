//! One leased partition at work: records in, committed batches out. A lane that meets trouble is thrown away and made
//! anew from the stored offset; that is the whole of recovery.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use broker::{BrokerError, Flaw, Record, Standing};
use schemas::{Channel, Event, Poison};
use store::{Place, StoreError};

use crate::batch::{Builder, Built};
use crate::channels::Channels;
use crate::decode::decode;
use crate::folds;
use crate::instance::Shared;
use crate::kept;

pub(crate) struct Lane {
    place: Place,
    /// The stored offset, as far as this instance knows.
    committed: i64,
    /// Records below were handed out already.
    read: i64,
    /// Records below were dealt with before a rebuild: their dead letters are in their topic.
    dead_from: i64,
    channels: Channels,
}

/// Why a lane cannot go on, by what is to be done.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Somebody else has moved the offset: begin again from there.
    Fenced,
    /// PostgreSQL is away: nothing can be written for a while.
    StoreAway(String),
    /// The log or the registry is away: this partition waits.
    Waiting(String),
    /// A rebuild removes the partition's rows and has more to remove: go on with it.
    Removing,
    /// The topic is another one than was pinned, or gone: nothing of it is stored before a person has acted.
    Moved(Flaw),
    /// The log ends at `end`, before what is stored: nothing is stored on top of that before a person has acted.
    Truncated { stored: i64, end: i64 },
    /// A defect or a wrong setting: shout, and try again much later.
    Defect(String),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Setback {
        match error {
            StoreError::Fenced { .. } => Setback::Fenced,
            StoreError::Retry { .. } => Setback::StoreAway(error.to_string()),
            StoreError::Gone { .. } | StoreError::Fatal { .. } => {
                Setback::Defect(error.to_string())
            }
        }
    }
}

impl From<BrokerError> for Setback {
    fn from(error: BrokerError) -> Setback {
        if error.retryable() {
            Setback::Waiting(error.to_string())
        } else {
            Setback::Defect(error.to_string())
        }
    }
}

impl Lane {
    /// Begins where the partition is stored up to; a partition never stored begins at the log's low watermark, and
    /// that is recorded as its floor.
    pub(crate) async fn open(shared: &Shared, place: Place) -> Result<Lane, Setback> {
        verify(shared, &place.topic).await?;
        let progress = match shared.ports.store.progress(&place).await? {
            Some(progress) if progress.removing => {
                let way = shared.ports.store.make_way(&place).await?;
                tracing::debug!(%place, ?way, "removing what is to be rebuilt");
                return Err(Setback::Removing);
            }
            Some(progress) => {
                if let Some(end) = progress.truncated {
                    let stored = progress.next;
                    return Err(Setback::Truncated { stored, end });
                }
                progress
            }
            None => {
                let watermarks = shared
                    .ports
                    .log
                    .watermarks(&place.topic, place.partition)
                    .await?;
                shared.ports.store.open(&place, watermarks.low).await?
            }
        };
        tracing::info!(%place, next = progress.next, "storing a partition");
        shared
            .standings
            .moved(&place, progress.next, progress.complete_to_ms);
        Ok(Lane {
            place,
            committed: progress.next,
            read: progress.next,
            dead_from: progress.rebuild_to.unwrap_or(0),
            channels: Channels::new(),
        })
    }

    /// Where to read from.
    pub(crate) fn committed(&self) -> i64 {
        self.committed
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Stores records, in order, and moves the offset to `end` if the log's end was seen there. `state_bytes_max`
    /// bounds what is kept of channels afterwards.
    ///
    /// After an error the lane is good for nothing.
    pub(crate) async fn advance(
        &mut self,
        shared: &Shared,
        mut records: Vec<Record>,
        end: Option<i64>,
        state_bytes_max: usize,
    ) -> Result<(), Setback> {
        // What a reader repeats (L11) was dealt with.
        records.retain(|record| record.offset >= self.read);
        let mut rest = records.as_slice();
        while rest.len() > shared.config.batch_rows_max {
            let (chunk, after) = rest.split_at(shared.config.batch_rows_max);
            self.store(shared, chunk, None).await?;
            rest = after;
        }
        self.store(shared, rest, end).await?;
        self.channels.forget(state_bytes_max);
        Ok(())
    }

    async fn store(
        &mut self,
        shared: &Shared,
        records: &[Record],
        end: Option<i64>,
    ) -> Result<(), Setback> {
        if self.place.topic == shared.config.names.state() {
            return self.keep(shared, records, end).await;
        }
        let decoded = decode(
            &shared.ports.decoder,
            shared.ports.schemas.as_ref(),
            records,
        )
        .await;
        let waiting = decoded.waiting;
        let records = &records[..decoded.verdicts.len()];
        let end = if waiting.is_none() { end } else { None };
        if !records.is_empty() || end.is_some_and(|end| end > self.committed) {
            let built = self.build(shared, records, decoded.verdicts, end).await?;
            self.commit(shared, built).await?;
        }
        match waiting {
            None => Ok(()),
            Some(reason) => Err(Setback::Waiting(reason)),
        }
    }

    /// The state topic's records are no events: kept cursors are all that is stored of them.
    async fn keep(
        &mut self,
        shared: &Shared,
        records: &[Record],
        end: Option<i64>,
    ) -> Result<(), Setback> {
        let (names, cursors) = (&shared.config.names, &shared.ports.cursors);
        let gathered = kept::gather(names, cursors, self.committed, records, end, now_ms());
        if gathered.batch.end <= self.committed {
            return Ok(());
        }
        shared
            .numbers
            .kept
            .inc_by(gathered.batch.deliveries.len() as u64);
        shared.numbers.passed_over.inc_by(gathered.passed_over);
        let batch = gathered.batch;
        self.commit(shared, Built { batch, void: 0 }).await
    }

    async fn build(
        &mut self,
        shared: &Shared,
        records: &[Record],
        verdicts: Vec<Result<Event, Poison>>,
        end: Option<i64>,
    ) -> Result<Built, Setback> {
        self.load(shared, &verdicts).await?;
        let mut builder = Builder::new(
            &self.place,
            &shared.ports.cursors,
            &mut self.channels,
            self.committed,
        );
        for (record, verdict) in records.iter().zip(verdicts) {
            builder.add(record, verdict);
        }
        Ok(builder.finish(end, now_ms()))
    }

    /// Takes up the channels that are not in memory, all at once.
    async fn load(
        &mut self,
        shared: &Shared,
        verdicts: &[Result<Event, Poison>],
    ) -> Result<(), Setback> {
        let events = verdicts.iter().filter_map(|verdict| verdict.as_ref().ok());
        let mut unknown: Vec<Channel> = events
            .filter(|event| !self.channels.knows(&event.channel))
            .map(|event| event.channel.clone())
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return Ok(());
        }
        let checkpoint = shared
            .ports
            .store
            .checkpoint(&self.place, &unknown, 0)
            .await?;
        let Some(mut checkpoint) =
            checkpoint.filter(|checkpoint| checkpoint.next == self.committed)
        else {
            return Err(Setback::Fenced);
        };
        for channel in unknown {
            let known = checkpoint.channels.remove(&channel);
            let folded = folds::restored(
                &shared.ports.store,
                &self.place,
                &channel,
                checkpoint.snapshots.get(&channel),
                known.as_ref().map(|known| known.newest),
                self.committed,
            )
            .await?;
            let state = known.map_or_else(|| checkpoint.unknown(), |known| known.state);
            self.channels.learn(channel, state, folded);
        }
        Ok(())
    }

    async fn commit(&mut self, shared: &Shared, built: Built) -> Result<(), Setback> {
        let Built { batch, void } = built;
        let batch = service::planted!("offsets_before_rows", every 10, store::Batch { events: Vec::new(), ..batch } => batch);
        let known = batch
            .quarantine
            .partition_point(|row| row.offset < self.dead_from);
        let dead = &batch.quarantine[known..];
        if !dead.is_empty() {
            shared
                .dead
                .append(&self.place, dead)
                .await
                .map_err(|reason| Setback::Waiting(format!("dead letters: {reason}")))?;
        }
        let begun = Instant::now();
        shared.ports.store.write(&self.place, &batch).await?;

        let numbers = &shared.numbers;
        numbers.write_seconds.observe(begun.elapsed().as_secs_f64());
        numbers.batches.inc();
        numbers.rows.inc_by(batch.events.len() as u64);
        numbers.void.inc_by(void);
        for row in &batch.quarantine {
            numbers.quarantined(&row.reason);
            tracing::warn!(place = %self.place, offset = row.offset, reason = row.reason, detail = row.detail, "a record was quarantined");
        }
        self.committed = batch.end;
        self.read = batch.end;
        shared
            .standings
            .moved(&self.place, batch.end, batch.complete_to_ms);
        Ok(())
    }

    /// The log no longer holds `asked`. If retention overtook the partition, that is recorded and it goes on at the
    /// log's low watermark; if the log ends before it, that is recorded and nothing is stored until a person looks.
    pub(crate) async fn out_of_range(
        &self,
        shared: &Arc<Shared>,
        asked: i64,
    ) -> Result<(), Setback> {
        let watermarks = shared
            .ports
            .log
            .watermarks(&self.place.topic, self.place.partition)
            .await?;
        // Another topic of this name has other offsets.
        verify(shared, &self.place.topic).await?;
        if asked > watermarks.high {
            let (stored, end) = (self.committed, watermarks.high);
            shared
                .ports
                .store
                .truncated(&self.place, stored, end)
                .await?;
            return Err(Setback::Truncated { stored, end });
        }
        if self.committed < watermarks.low {
            shared
                .ports
                .store
                .skip(&self.place, self.committed, watermarks.low)
                .await?;
            let lost = watermarks.low - self.committed;
            shared.numbers.gap_records.inc_by(lost.unsigned_abs());
            tracing::error!(
                place = %self.place, from = self.committed, to = watermarks.low,
                "the log erased records before they were stored; the gap is recorded and storing goes on behind it"
            );
        }
        Ok(())
    }
}

/// Asks whether the topic is the pinned one. Identities do not come back, so what was read of it before is its own.
async fn verify(shared: &Shared, topic: &str) -> Result<(), Setback> {
    sound(shared.ports.watch.check(topic).await)
}

/// Nothing is stored of a topic that is not known to be the pinned one.
pub(crate) fn sound(standing: Standing) -> Result<(), Setback> {
    match standing {
        Standing::Sound => Ok(()),
        Standing::Lost(flaw) => Err(Setback::Moved(flaw)),
        Standing::Unknown => Err(Setback::Waiting(
            "the log does not say whether it is the same topic".to_owned(),
        )),
    }
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
