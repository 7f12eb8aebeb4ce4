//! What records come to: rows, steps of jobs, quarantine. Pure: the same records after the same states give the same
//! batch, whoever builds it.

use std::collections::{BTreeMap, BTreeSet};

use broker::Record;
use protocol::{Cursors, Position};
use schemas::{Channel, Event, Poison};
use state::job::{Job, Step};
use state::{Effect, Judged};
use store::{Batch, JobRow, JobStep, NewEvent, Place, QuarantineRow, SnapshotRow, day_of};

use crate::channels::Channels;

pub(crate) struct Builder<'a> {
    place: &'a Place,
    cursors: &'a Cursors,
    channels: &'a mut Channels,
    batch: Batch,
    jobs: BTreeMap<String, JobRow>,
    /// By channel and day: a clock that steps back over midnight comes to the same day twice.
    snapshots: BTreeMap<(Channel, i64), SnapshotRow>,
    folded: BTreeSet<Channel>,
    void: u64,
}

/// A batch and the number of void records it passes over.
pub(crate) struct Built {
    pub(crate) batch: Batch,
    pub(crate) void: u64,
}

impl<'a> Builder<'a> {
    /// A batch that goes on from `start`. All channels of its events are known to `channels`, as of `start`.
    pub(crate) fn new(
        place: &'a Place,
        cursors: &'a Cursors,
        channels: &'a mut Channels,
        start: i64,
    ) -> Builder<'a> {
        let batch = Batch {
            start,
            end: start,
            ..Batch::default()
        };
        Builder {
            place,
            cursors,
            channels,
            batch,
            jobs: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            folded: BTreeSet::new(),
            void: 0,
        }
    }

    /// The next record, ascending by offset.
    pub(crate) fn add(&mut self, record: &Record, decoded: Result<Event, Poison>) {
        self.batch.end = record.offset + 1;
        let complete_to = self.batch.complete_to_ms.get_or_insert(record.timestamp_ms);
        *complete_to = (*complete_to).max(record.timestamp_ms);
        match decoded {
            Ok(event) => self.event(record, event),
            Err(poison) => self.batch.quarantine.push(quarantined(record, poison)),
        }
    }

    fn event(&mut self, record: &Record, event: Event) {
        let (judged, folded) = self
            .channels
            .judge(&event, record.offset, record.timestamp_ms);
        let Judged::Accepted { prev, log_time_ms } = judged else {
            self.void += 1;
            return;
        };
        let position = Position {
            generation: self.place.generation,
            partition: self.place.partition,
            next: record.offset + 1,
        };
        let cursor = self.cursors.encode(&event.channel, position);
        let (effect, ended) = folded.apply(&event, record.offset, record.timestamp_ms);
        if let (Effect::Step(step), Some(job)) = (effect, folded.fold().job()) {
            self.batch
                .job_history
                .push(step_of(&job.job_id, step, record, &cursor));
            self.jobs.insert(job.job_id.clone(), row_of(job, &cursor));
        }
        if folded.fold().is_moved() {
            self.folded.insert(event.channel.clone());
        }
        self.keep(ended);
        self.batch.events.push(NewEvent {
            offset: record.offset,
            at_ms: record.timestamp_ms,
            log_time_ms,
            prev,
            channel: event.channel,
            name: event.name.as_str().to_owned(),
            id: event.id,
            id_given: event.id_given,
            user_id: event.user_id,
            data: event.data,
            to: event.to,
            outbox: event.outbox,
            cursor,
        });
    }

    fn keep(&mut self, snapshot: Option<SnapshotRow>) {
        if let Some(row) = snapshot {
            let key = (row.channel.clone(), day_of(row.at_ms));
            self.snapshots.insert(key, row);
        }
    }

    /// The batch up to `end` if the log's end was seen there, else up to the last record. `now_ms` bounds what may be
    /// called complete, whatever time a record claims.
    pub(crate) fn finish(mut self, end: Option<i64>, now_ms: i64) -> Built {
        self.batch.end = self.batch.end.max(end.unwrap_or(self.batch.end));
        self.batch.complete_to_ms = self.batch.complete_to_ms.map(|at_ms| at_ms.min(now_ms));
        for channel in std::mem::take(&mut self.folded) {
            let folded = self.channels.folded(&channel);
            let due = folded.and_then(|folded| folded.due(&channel));
            self.keep(due);
        }
        self.batch.jobs = self.jobs.into_values().collect();
        self.batch.snapshots = self.snapshots.into_values().collect();
        Built {
            batch: self.batch,
            void: self.void,
        }
    }
}

fn quarantined(record: &Record, poison: Poison) -> QuarantineRow {
    QuarantineRow {
        offset: record.offset,
        at_ms: record.timestamp_ms,
        reason: poison.reason.as_str().to_owned(),
        detail: poison.detail,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}

fn step_of(job_id: &str, step: Step, record: &Record, cursor: &str) -> JobStep {
    JobStep {
        job_id: job_id.to_owned(),
        offset: record.offset,
        status: step.status.as_str().to_owned(),
        progress: step.progress,
        message: step.message,
        error_code: step.error_code,
        at_ms: record.timestamp_ms,
        cursor: cursor.to_owned(),
    }
}

fn row_of(job: &Job, cursor: &str) -> JobRow {
    JobRow {
        job_id: job.job_id.clone(),
        kind: job.kind.clone(),
        owner_id: job.owner_id.clone(),
        status: job.status.as_str().to_owned(),
        progress: job.progress,
        message: job.message.clone(),
        error_code: job.error_code.clone(),
        error_message: job.error_message.clone(),
        created_at_ms: job.created_at_ms,
        updated_at_ms: job.updated_at_ms,
        finished_at_ms: job.finished_at_ms,
        cursor: cursor.to_owned(),
    }
}

#[cfg(test)]
mod tests;
