//! How far a cursor is kept: what the store has and what this node has read since, as of a moment after the question.
//!
//! Questions about one partition of the state topic that come while another is being answered are answered together.

use std::{sync::Arc, time::Duration};

use protocol::{ErrorName, Position, ProtocolError};
use schemas::KeptKey;
use store::KeptCursors;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Keeper, Mark, Tail, reach};
use crate::{
    chunk::away,
    mailbox::{Mailbox, ToShard},
    place::Place,
    sub::SubKey,
};

/// Questions that may wait, over all partitions. Over it the asker is told to come back.
pub(super) const QUESTIONS_MAX: usize = 65_536;
/// Keys of one question to the store.
const KEYS_MAX: usize = 1_000;
/// How long one round of answers may take.
const ROUND: Duration = Duration::from_secs(4);
/// Of that, how long the store may take.
const STORE: Duration = Duration::from_secs(2);
/// How often the store is asked again when it moved on meanwhile.
const TRIES: usize = 3;

#[derive(Debug)]
pub(super) struct Question {
    pub(super) key: Arc<KeptKey>,
    pub(super) answered: Answered,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// Who hears the answer.
#[derive(Debug)]
pub(super) enum Answered {
    Shard { mailbox: Arc<Mailbox>, sub: SubKey },
    Once(oneshot::Sender<Result<Option<Position>, ProtocolError>>),
}

impl Answered {
    fn tell(self, found: Result<Option<Position>, ProtocolError>) {
        match self {
            Answered::Shard { mailbox, sub } => mailbox.post(ToShard::Kept { sub, found }),
            // Whoever went away no longer wants to know.
            Answered::Once(sender) => drop(sender.send(found)),
        }
    }
}

/// The questions about one partition.
#[derive(Default)]
struct Line {
    waiting: Vec<Question>,
    busy: bool,
}

pub(super) async fn run(
    keeper: Arc<Keeper>,
    mut asked: mpsc::Receiver<Question>,
    stop: CancellationToken,
) {
    let mut lines: Vec<Line> = keeper.read_to.iter().map(|_| Line::default()).collect();
    let mut rounds = JoinSet::new();
    loop {
        let touched = tokio::select! {
            () = stop.cancelled() => return,
            Some(question) = asked.recv() => {
                let partition = keeper.place(&question.key).partition as usize;
                lines[partition].waiting.push(question);
                partition
            }
            Some(done) = rounds.join_next(), if !rounds.is_empty() => match done {
                Ok(partition) => {
                    let partition: usize = partition;
                    lines[partition].busy = false;
                    partition
                }
                Err(error) => {
                    // Whose round it was is not known: a second one beside it does no harm.
                    tracing::error!(%error, "a look-up of kept cursors died");
                    lines.iter_mut().for_each(|line| line.busy = false);
                    continue;
                }
            },
        };
        let line = &mut lines[touched];
        if !line.busy && !line.waiting.is_empty() {
            line.busy = true;
            let rest = line.waiting.split_off(line.waiting.len().min(KEYS_MAX));
            let now = std::mem::replace(&mut line.waiting, rest);
            rounds.spawn(round(Arc::clone(&keeper), touched, now));
        }
    }
}

async fn round(keeper: Arc<Keeper>, partition: usize, questions: Vec<Question>) -> usize {
    keeper.metrics.lookups.inc();
    let keys: Vec<&KeptKey> = questions.iter().map(|q| &*q.key).collect();
    let found = timeout(ROUND, keeper.look_up(partition, &keys)).await;
    match found {
        Ok(Ok(found)) => {
            for (question, found) in questions.into_iter().zip(found) {
                question.answered.tell(Ok(found));
            }
        }
        failed => {
            let error = match failed {
                Ok(Err(error)) => error,
                _ => ProtocolError::new(
                    ErrorName::Timeout,
                    "the kept cursors could not be read in time",
                ),
            };
            for question in questions {
                question.answered.tell(Err(error.clone()));
            }
        }
    }
    partition
}

impl Keeper {
    async fn look_up(
        &self,
        partition: usize,
        keys: &[&KeptKey],
    ) -> Result<Vec<Option<Position>>, ProtocolError> {
        let directory = &self.tiers.framer.directory;
        let place = directory.state_place(partition as i32);
        // What was acknowledged before the question is below the end as of now.
        let end = match self
            .tiers
            .log
            .watermarks(&place.topic, place.partition)
            .await
        {
            Ok(watermarks) => watermarks.high,
            Err(error) => {
                tracing::warn!(%error, "the end of the state topic cannot be had");
                return Err(away());
            }
        };
        let mut read_to = self.read_to[partition].subscribe();
        for _ in 0..TRIES {
            // Each time anew: the partition may have been begun again meanwhile.
            read_to
                .wait_for(|read_to| *read_to >= end)
                .await
                .map_err(|_| away())?;
            let stored = self.stored(&place, keys).await;
            let silent = stored.is_none();
            if let Some(found) = self.joined(partition, keys, stored, end) {
                return Ok(found);
            }
            if silent {
                self.do_without_store(partition);
                break;
            }
            self.lock().stale.insert(partition as i32);
        }
        // Never from the beginning again in silence: better no answer for now.
        Err(ProtocolError::unavailable(
            "the kept cursors cannot be looked up just now",
            1_000,
        ))
    }

    /// The log has every name: read from its beginning, instead of from where the store stood, it puts them all into
    /// memory, and whoever comes back is answered from there. Unless there are more than fit.
    fn do_without_store(&self, partition: usize) {
        let mut state = self.lock();
        let tail = state.tails.get(partition).and_then(Option::as_ref);
        if tail.is_some_and(Tail::could_be_whole) {
            state.stale.insert(partition as i32);
        }
    }

    /// `None`: there is no store, or it does not answer.
    async fn stored(&self, place: &Place, keys: &[&KeptKey]) -> Option<KeptCursors> {
        let store = self.tiers.store.as_ref()?;
        let place = self.tiers.framer.directory.stored(place);
        match timeout(STORE, store.kept(&place, keys)).await {
            Ok(Ok(kept)) => Some(kept),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store does not answer for kept cursors");
                None
            }
            Err(_) => None,
        }
    }

    /// Store and tail together; `None` when something below `end` could be missing in both.
    fn joined(
        &self,
        partition: usize,
        keys: &[&KeptKey],
        stored: Option<KeptCursors>,
        end: i64,
    ) -> Option<Vec<Option<Position>>> {
        let mut state = self.lock();
        let next = stored.as_ref().and_then(|stored| stored.next);
        let tail = state.tails.get(partition)?.as_ref()?;
        if !tail.joins(next, end) {
            return None;
        }
        let mut rows = stored.map_or_else(Vec::new, |s| s.cursors).into_iter();
        let mut found = Vec::with_capacity(keys.len());
        let mut news = Vec::new();
        for key in keys {
            let row = rows.next().flatten().and_then(|(cursor, at_ms)| {
                let position = self.position(key, &cursor)?;
                Some(Mark { position, at_ms })
            });
            // What was acknowledged here without waiting for the log counts for whoever asks here.
            let known = [row, tail.find(key), state.pending.newest(key)]
                .into_iter()
                .flatten()
                .max_by_key(|mark| reach(mark.position));
            found.push(known.map(|mark| mark.position));
            let read = [row, tail.find(key)].into_iter().flatten();
            news.extend(read.map(|mark| (*key, mark)));
        }
        for (key, mark) in news {
            // Whoever asked hears the answer itself; who else watches the key has heard of it when it was read.
            drop(state.audience.learn(key, mark));
        }
        Some(found)
    }
}
