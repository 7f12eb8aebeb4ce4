//! The checkpoint: everything a reader needs to go on from the middle of the log, in one snapshot.
//!
//! The state of the acceptance rule is not stored as such: ids of the last horizon are read from the events
//! themselves, so that nothing can disagree with them.

mod reading;

use std::collections::HashMap;

use schemas::Channel;

use self::reading::{Depth, Reading};
use crate::channel::ChannelState;
use crate::connect::BEGIN_SNAPSHOT;
use crate::snapshots::newest;
use crate::{EventRow, Place, SnapshotRow, Store, StoreError};

/// A partition's state as of one offset.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The state is that of every record below this offset: go on reading here.
    pub next: i64,
    /// Rows are complete from this offset on, but for what was lost.
    pub floor: i64,
    /// Where the last range ends that was erased before it was stored, or what was erased before storing began; 0 when
    /// nothing was.
    pub lost_to: i64,
    /// The channels asked for that have at least one accepted event; the others begin as [`Checkpoint::unknown`].
    pub channels: HashMap<Channel, ChannelCheckpoint>,
    /// The newest snapshots of those channels asked for that have one. Where [`ChannelCheckpoint::newest`] is not below
    /// a snapshot's `next`, the rows from there on have to be folded in.
    pub snapshots: HashMap<Channel, SnapshotRow>,
}

/// One channel's part of a checkpoint.
#[derive(Clone, Debug)]
pub struct ChannelCheckpoint {
    /// What the acceptance rule knows.
    pub state: ChannelState,
    /// Offset of its last accepted event.
    pub newest: i64,
    /// The last events, ascending; shorter than asked for only when there are no more.
    pub tail: Vec<EventRow>,
}

impl Checkpoint {
    /// What is known of a channel without events.
    #[must_use]
    pub fn unknown(&self) -> ChannelState {
        ChannelState {
            unheard: (self.lost_to > 0).then(Vec::new),
            ..ChannelState::default()
        }
    }
}

const DURING: &str = "reading a checkpoint";

impl Store {
    /// The state of `place` and of `channels` with their last `tail` events, all as of one moment; `None` while no
    /// persister has begun with the partition, or when the log was cut below what is stored: the state would be that
    /// of events the log no longer has.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn checkpoint(
        &self,
        place: &Place,
        channels: &[Channel],
        tail: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.as_of_now(place, channels, Depth::Whole { tail }).await
    }

    /// The same for somebody who needs to know where outboxes stand, and no ids: a busy channel has many of them.
    ///
    /// # Errors
    /// [`StoreError::Retry`] while PostgreSQL is away.
    pub async fn outboxes(
        &self,
        place: &Place,
        channels: &[Channel],
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.as_of_now(place, channels, Depth::Outboxes).await
    }

    async fn as_of_now(
        &self,
        place: &Place,
        channels: &[Channel],
        depth: Depth,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.within(DURING, async {
            let sql = |error| StoreError::from_sqlx(DURING, error);
            let Some(topic_id) = self.find_topic_id(place).await? else {
                return Ok(None);
            };
            let mut tx = self.begin(BEGIN_SNAPSHOT).await.map_err(sql)?;
            let mut reading = Reading {
                connection: &mut tx,
                topic_id,
                partition: place.partition,
            };
            let Some((next, floor, lost_to)) = reading.offset().await.map_err(sql)? else {
                return Ok(None);
            };
            let names: Vec<String> = channels.iter().map(|it| it.as_str().to_owned()).collect();
            let channels = reading.channels(channels, &names, depth, lost_to).await?;
            let snapshots = match depth {
                Depth::Whole { .. } => newest(&mut tx, place, &names, next).await?,
                Depth::Outboxes => HashMap::new(),
            };
            tx.commit().await.map_err(sql)?;
            Ok(Some(Checkpoint {
                next,
                floor,
                lost_to,
                channels,
                snapshots,
            }))
        })
        .await
    }
}
