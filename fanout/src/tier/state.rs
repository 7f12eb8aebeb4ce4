//! The state of a channel at an older position: from the store's newest snapshot before it, and the events between.
//! When any of those is gone everywhere, that is the answer; a state is never made up.

use std::collections::HashMap;

use bytes::Bytes;
use protocol::ProtocolError;
use schemas::Channel;
use state::{Entry, Fold, Saved};
use store::{EventRow, Footing, HistoryFilter, SnapshotRow};
use tokio::{sync::oneshot, time::timeout};

use super::{CatchUp, Fetch, STEP, Silent, Tiers, alone, folded::Folded, warm::Ground};
use crate::{
    chunk::{Chunk, Gap, Room, State, away},
    place::{Place, Spot},
    plan::{self, Source},
    pull::Reply,
};

/// States that are folded at the same time on this node; who comes next waits, at the longest until its deadline.
pub(super) const FOLDINGS_MAX: usize = 16;
/// Bytes of events taken at once to fold them.
const BYTES: usize = 256 * 1024;
/// Rows taken at once.
const ROWS: u32 = 1_000;

/// Why there is no state.
enum Lost {
    /// These events led to it, and nothing holds them.
    Gone(Gap),
    /// Not just now.
    Away(ProtocolError),
}

impl From<ProtocolError> for Lost {
    fn from(error: ProtocolError) -> Self {
        Lost::Away(error)
    }
}

/// Where folding begins.
struct Base {
    fold: Fold,
    /// Events from here on are folded in.
    from: i64,
    /// The channel's rows before this are all there, though the partition's are not.
    rows_to: i64,
}

impl Tiers {
    /// The state of the channel as of all its events below `next`.
    ///
    /// `NOT_FOUND` with `details.gap` when events that led to it are erased in every tier. Cancel safe.
    pub(crate) async fn state_at(
        &self,
        catch_up: &CatchUp,
        spot: &Spot,
        next: i64,
    ) -> Result<State, ProtocolError> {
        match self.fold_to(catch_up, spot, next).await {
            Ok(json) => Ok(State { at: next, json }),
            Err(Lost::Away(error)) => Err(error),
            Err(Lost::Gone(gap)) => Err(gap.erased(&self.framer, spot)),
        }
    }

    /// The same for somebody who goes on reading from `next`: when the events after it are gone too, up to a place
    /// at or before `until`, then the state there.
    pub(crate) async fn state_from(
        &self,
        catch_up: &CatchUp,
        spot: &Spot,
        next: i64,
        until: i64,
    ) -> Result<State, ProtocolError> {
        let gap = match self.fold_to(catch_up, spot, next).await {
            Ok(json) => return Ok(State { at: next, json }),
            Err(Lost::Away(error)) => return Err(error),
            Err(Lost::Gone(gap)) => gap,
        };
        match plan::source(next, &self.extent(&spot.place).await?) {
            Source::Gap { to } if next < until => {
                self.state_at(catch_up, spot, to.min(until)).await
            }
            _ => Err(gap.erased(&self.framer, spot)),
        }
    }

    async fn fold_to(&self, catch_up: &CatchUp, spot: &Spot, next: i64) -> Result<Bytes, Lost> {
        let _permit = self.foldings.acquire().await.map_err(|_| away())?;
        let mut base = self.base(spot, next).await?;
        if base.from < base.rows_to {
            let range = (base.from, base.rows_to);
            self.fold_rows(spot, &mut base.fold, range).await?;
            base.from = base.rows_to;
        }
        while base.from < next {
            let chunk = fetch(catch_up, spot, base.from, next).await?;
            if let Some(gap) = chunk.gap {
                return Err(Lost::Gone(gap));
            }
            let end = service::planted!("snapshot_late", i64::MAX => next);
            for event in chunk.events.iter().filter(|e| e.offset < end) {
                event.fold_into(&mut base.fold);
            }
            base.from = chunk.next;
        }
        Ok(base.fold.view().into())
    }

    /// The states that channels have at the end of the ground that their warming stands on.
    pub(super) async fn folds(
        &self,
        place: &Place,
        channels: &[Channel],
        ground: &Ground,
        low: i64,
    ) -> Result<HashMap<Channel, Folded>, ProtocolError> {
        let mut folds = HashMap::new();
        for channel in channels {
            if Fold::of(channel).is_moved() {
                let spot = Spot {
                    place: place.clone(),
                    channel: channel.clone(),
                };
                let (fold, whole) = self.fold_on(&spot, ground).await?;
                // Erased before it was stored: what was in that hole is in no state.
                let folded = Folded::new(fold, whole && ground.next >= low);
                folds.insert(channel.clone(), folded);
            }
        }
        Ok(folds)
    }

    /// The channel's state at the end of the ground, and whether it has all of its events.
    async fn fold_on(&self, spot: &Spot, ground: &Ground) -> Result<(Fold, bool), ProtocolError> {
        let newest = ground.channels.get(&spot.channel).map(|known| known.newest);
        let row = ground.snapshots.get(&spot.channel);
        let kept = row.and_then(|row| restored(spot, row));
        let behind = |from: i64| newest.is_some_and(|newest| newest >= from);
        let (mut fold, from) = match kept {
            Some((fold, from)) if !behind(from) => return Ok((fold, true)),
            Some(kept) => kept,
            None if newest.is_none() && row.is_none() => {
                return Ok((Fold::of(&spot.channel), ground.is_whole));
            }
            None => (Fold::of(&spot.channel), 0),
        };
        let whole = from > 0
            || self
                .footing(spot, ground.next)
                .await?
                .is_some_and(|footing| footing.whole);
        self.fold_rows(spot, &mut fold, (from, ground.next)).await?;
        Ok((fold, whole))
    }

    async fn base(&self, spot: &Spot, next: i64) -> Result<Base, Lost> {
        let footing = self.footing(spot, next).await?;
        let Some(footing) = footing else {
            return Ok(Base {
                fold: Fold::of(&spot.channel),
                from: 0,
                rows_to: 0,
            });
        };
        let kept = footing
            .snapshot
            .as_ref()
            .and_then(|row| restored(spot, row));
        // Every day that was dropped left the state after its last event: none of those is after the newest snapshot.
        let complete = footing.whole || (kept.is_some() && next >= footing.floor);
        let (fold, from) = kept.unwrap_or_else(|| (Fold::of(&spot.channel), 0));
        Ok(Base {
            fold,
            from,
            rows_to: if complete { footing.floor.min(next) } else { 0 },
        })
    }

    /// What the store can fold from; `None` where there is no store and the log's first record is at hand.
    async fn footing(&self, spot: &Spot, at: i64) -> Result<Option<Footing>, ProtocolError> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let place = self.framer.directory.stored(&spot.place);
        match timeout(STEP, store.footing(&place, &spot.channel, at)).await {
            // The log was cut (F32): the store's states are those of events the log no longer has.
            Ok(Ok(Some(footing))) if footing.next > self.log_end(&spot.place).await? => Ok(None),
            Ok(Ok(footing)) => Ok(footing),
            // A topic that was made anew begins with the states of the one before it, which the store alone has.
            _ if place.generation > 0 => Err(away()),
            _ => alone(Silent, self.log_low(&spot.place).await?),
        }
    }

    /// Folds rows of the channel that are there though the partition is not complete that far back.
    pub(super) async fn fold_rows(
        &self,
        spot: &Spot,
        fold: &mut Fold,
        (mut from, to): (i64, i64),
    ) -> Result<(), ProtocolError> {
        let Some(store) = &self.store else {
            return Err(away());
        };
        let place = self.framer.directory.stored(&spot.place);
        let floor = self.floor(spot).await?;
        loop {
            let filter = HistoryFilter {
                limit: ROWS,
                ..HistoryFilter::between(from, to)
            };
            let rows = match timeout(STEP, store.history(&place, &spot.channel, filter)).await {
                Ok(Ok(rows)) => rows,
                _ => return Err(away()),
            };
            for row in &rows {
                fold.apply(&entry(row));
            }
            match rows.last() {
                Some(last) if rows.len() >= ROWS as usize => from = last.offset + 1,
                _ => break,
            }
        }
        // Days that were dropped meanwhile may have taken rows with them.
        match self.floor(spot).await? == floor {
            true => Ok(()),
            false => Err(away()),
        }
    }

    async fn floor(&self, spot: &Spot) -> Result<Option<i64>, ProtocolError> {
        let stored = self.stored(&spot.place).await.map_err(|_| away())?;
        Ok(stored.map(|stored| stored.floor))
    }
}

/// The state that a snapshot holds and where it stands; `None` when this version cannot read it.
pub(super) fn restored(spot: &Spot, row: &SnapshotRow) -> Option<(Fold, i64)> {
    let saved = Saved {
        kind: row.kind.clone(),
        version: row.version,
        bytes: row.state.to_vec(),
    };
    match Fold::restore(&spot.channel, &saved) {
        Ok(fold) => Some((fold, row.next)),
        Err(_) => {
            tracing::warn!(channel = %spot.channel, kind = row.kind, version = row.version,
                "a snapshot cannot be read by this version; folding from the first event");
            None
        }
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

/// The events after a position, from whichever tier has them.
async fn fetch(
    catch_up: &CatchUp,
    spot: &Spot,
    next: i64,
    until: i64,
) -> Result<Chunk, ProtocolError> {
    let (reply, answer) = oneshot::channel();
    catch_up.fetch(Fetch {
        place: spot.place.clone(),
        channel: spot.channel.clone(),
        next,
        until,
        room: Room::of(BYTES),
        reply: Reply::Once(reply),
    });
    answer.await.map_err(|_| away())?
}
