//! The states of channels: how they come back from the store, and when they go there.
//!
//! Which snapshots there are follows from the log alone: the state after a channel's last event of each day. So they
//! are the same however the log was cut into batches, and however often it was read.

use schemas::{Channel, Event};
use state::{Effect, Entry, Fold, Saved};
use store::{EventRow, HistoryFilter, Place, SnapshotRow, Store, day_of};

use crate::lane::Setback;

/// Rows read at once to fold them.
const PAGE: u32 = 1000;

/// A channel's state, and what of it the store does not have.
#[derive(Debug)]
pub(crate) struct Folded {
    fold: Fold,
    unsaved: Option<Unsaved>,
}

#[derive(Debug, Clone, Copy)]
struct Unsaved {
    events: u64,
    /// One past the last of them.
    next: i64,
    at_ms: i64,
}

impl Folded {
    /// The state of a channel before its first event.
    pub(crate) fn new(channel: &Channel) -> Folded {
        Folded {
            fold: Fold::of(channel),
            unsaved: None,
        }
    }

    pub(crate) fn fold(&self) -> &Fold {
        &self.fold
    }

    /// Folds the next accepted event in. What was the state after the last event of a day comes back to be stored.
    pub(crate) fn apply(
        &mut self,
        event: &Event,
        offset: i64,
        at_ms: i64,
    ) -> (Effect, Option<SnapshotRow>) {
        let ended = self.end_day(&event.channel, at_ms);
        (self.take(&Entry::of(event, offset, at_ms)), ended)
    }

    /// At the end of a batch: the state, if it is to be stored.
    pub(crate) fn due(&mut self, channel: &Channel) -> Option<SnapshotRow> {
        let unsaved = self.unsaved?;
        if !self.fold.is_due(unsaved.events) {
            return None;
        }
        self.save(channel)
    }

    fn end_day(&mut self, channel: &Channel, at_ms: i64) -> Option<SnapshotRow> {
        let unsaved = self.unsaved?;
        if day_of(unsaved.at_ms) == day_of(at_ms) {
            return None;
        }
        self.save(channel)
    }

    fn save(&mut self, channel: &Channel) -> Option<SnapshotRow> {
        let unsaved = self.unsaved.take()?;
        let saved = self.fold.save()?;
        Some(SnapshotRow {
            channel: channel.clone(),
            next: unsaved.next,
            at_ms: unsaved.at_ms,
            kind: saved.kind,
            version: saved.version,
            state: saved.bytes.into(),
        })
    }

    fn take(&mut self, entry: &Entry<'_>) -> Effect {
        if !self.fold.is_moved() {
            return Effect::Nothing;
        }
        self.unsaved = Some(Unsaved {
            events: self.unsaved.map_or(1, |unsaved| unsaved.events + 1),
            next: entry.offset + 1,
            at_ms: entry.at_ms,
        });
        self.fold.apply(entry)
    }
}

/// The state of a channel as of `end`, the stored offset, from its newest snapshot and the rows after it. `newest` is
/// the offset of its last row.
pub(crate) async fn restored(
    store: &Store,
    place: &Place,
    channel: &Channel,
    snapshot: Option<&SnapshotRow>,
    newest: Option<i64>,
    end: i64,
) -> Result<Folded, Setback> {
    let mut folded = Folded::new(channel);
    if !folded.fold.is_moved() {
        return Ok(folded);
    }
    let kept = snapshot.map(|row| (row.next, Fold::restore(channel, &saved(row))));
    let from = match kept {
        Some((next, Ok(fold))) => {
            folded.fold = fold;
            next
        }
        Some((_, Err(_))) => {
            from_the_first(store, place, channel, end).await?;
            0
        }
        None => 0,
    };
    if newest.is_some_and(|newest| newest >= from) {
        folded.replay(store, place, channel, (from, end)).await?;
    }
    Ok(folded)
}

/// A snapshot that cannot be read is done without as long as every event of the channel is there.
async fn from_the_first(
    store: &Store,
    place: &Place,
    channel: &Channel,
    end: i64,
) -> Result<(), Setback> {
    let footing = store.footing(place, channel, end).await?;
    if footing.is_some_and(|footing| footing.whole) {
        tracing::warn!(%place, %channel, "a snapshot cannot be read by this version; the channel is folded from its first event");
        return Ok(());
    }
    Err(Setback::Defect(format!(
        "the snapshot of {channel} was written by a later version and its first events are dropped: run that version"
    )))
}

impl Folded {
    async fn replay(
        &mut self,
        store: &Store,
        place: &Place,
        channel: &Channel,
        (mut from, end): (i64, i64),
    ) -> Result<(), Setback> {
        loop {
            let filter = HistoryFilter {
                limit: PAGE,
                ..HistoryFilter::between(from, end)
            };
            let rows = store.history(place, channel, filter).await?;
            for row in &rows {
                self.take(&entry(row));
            }
            match rows.last() {
                Some(last) if rows.len() >= PAGE as usize => from = last.offset + 1,
                _ => return Ok(()),
            }
        }
    }
}

fn saved(row: &SnapshotRow) -> Saved {
    Saved {
        kind: row.kind.clone(),
        version: row.version,
        bytes: row.state.to_vec(),
    }
}

fn entry(row: &EventRow) -> Entry<'_> {
    Entry {
        offset: row.offset,
        at_ms: row.at_ms,
        id: &row.id,
        name: &row.name,
        user: row.user_id.as_deref(),
        data: &row.data,
    }
}
