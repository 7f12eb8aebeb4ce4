//! One turn of a partition: its waiting pulls are sorted by who holds what they ask for, and as many as fit into the
//! turn are answered from the store's pages and one reading of the log.

use std::{
    collections::{HashMap, HashSet},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use schemas::Channel;
use state::ChannelState;
use tokio::time::Instant;

use super::{
    Tiers, beginning,
    catchup::{Fetch, Remembered, tell},
    page::Paged,
    scan::{Purpose, ScanError},
    states::States,
    sweep::{Sweep, Track},
};
use crate::{
    chunk::away,
    metrics::CatchUpMetrics,
    place::Place,
    plan::{self, Extent, Source},
};

/// How long a turn may read. What is not filled by then goes on with the next pull, others first.
const TURN: Duration = Duration::from_millis(500);
/// How long the store may take to tell what the log is judged from. Less than a request waits.
const CHECKPOINT: Duration = Duration::from_secs(4);
/// Channels whose checkpoints are asked for in one turn.
const CHECKPOINTS_MAX: usize = 128;
/// A reading of the log begins at most so many records before the place of whoever has waited longest.
const NEAR: i64 = 4_096;

/// The waiting pulls of a partition, by who answers them.
#[derive(Default)]
struct Sorted {
    /// The store does.
    stored: Vec<Paged>,
    /// The log does, judged from an offset, with the store's checkpoint or without.
    logged: Vec<(Fetch, i64, bool)>,
}

impl Tiers {
    /// Answers what fits into a turn, and gives back the others, oldest first.
    pub(super) async fn turn(
        &self,
        place: &Place,
        fetches: Vec<Fetch>,
        states: &Remembered,
        metrics: &CatchUpMetrics,
    ) -> Vec<Fetch> {
        let extent = match self.extent(place).await {
            Ok(extent) => extent,
            Err(error) => {
                for fetch in fetches {
                    fetch.reply.send(Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let ends = Instant::now() + TURN;
        let sorted = sort(fetches, &extent);
        let (stored, logged) = tokio::join!(
            self.pages(place, sorted.stored, ends, metrics),
            self.readings(place, sorted.logged, &extent, states),
        );
        stored.into_iter().chain(logged).collect()
    }

    /// One reading of the log, from about where the oldest of the pulls stands.
    async fn readings(
        &self,
        place: &Place,
        logged: Vec<(Fetch, i64, bool)>,
        extent: &Extent,
        states: &Remembered,
    ) -> Vec<Fetch> {
        let Some(oldest) = logged.first().map(|(fetch, ..)| fetch.next) else {
            return Vec::new();
        };
        let (now, later): (Vec<_>, Vec<_>) = logged
            .into_iter()
            .partition(|(fetch, ..)| fetch.next >= oldest.saturating_sub(NEAR));
        let (now, crowd) = some_channels(now, |(fetch, ..)| &fetch.channel);
        let mut left: Vec<Fetch> = later
            .into_iter()
            .chain(crowd)
            .map(|(fetch, ..)| fetch)
            .collect();
        let (tracks, moved) = self.tracks(place, now, extent, states).await;
        left.extend(moved);
        if tracks.is_empty() {
            return left;
        }
        let mut sweep = Sweep::new(&self.framer, place, tracks);
        let (from, to) = (sweep.from().unwrap_or(0), sweep.until());
        let keys: HashSet<Vec<u8>> = sweep
            .channels()
            .map(|c| c.id().as_bytes().to_vec())
            .collect();
        let scanned = self
            .scanner
            .scan(
                Purpose::CatchUp,
                place,
                (from, to),
                |key| keys.contains(key),
                |record| sweep.record(&record, &mut lock(states)),
                TURN,
            )
            .await;
        match scanned {
            Ok(reached) | Err(ScanError::Late(reached)) => {
                left.extend(sweep.end(reached, &mut lock(states)));
            }
            Err(error) => {
                sweep
                    .channels()
                    .for_each(|channel| lock(states).forget(channel));
                let unread = sweep.abandon();
                left.extend(self.unreadable(place, &error, unread).await);
            }
        }
        left
    }

    /// The log did not give what it was thought to hold: planned anew when retention has moved underneath, refused
    /// for now otherwise.
    async fn unreadable(
        &self,
        place: &Place,
        error: &ScanError,
        fetches: Vec<Fetch>,
    ) -> Vec<Fetch> {
        if let ScanError::Gone(asked) = error
            && let Ok(low) = self.log_low(place).await
            && low > *asked
        {
            return fetches;
        }
        tracing::warn!(topic = %place.topic, partition = place.partition, %error, "catch-up failed");
        fetches.into_iter().filter_map(put_off).collect()
    }

    /// The pulls with the states from which they are judged: remembered ones, else the store's, asked for together.
    async fn tracks(
        &self,
        place: &Place,
        fetches: Vec<(Fetch, i64, bool)>,
        extent: &Extent,
        states: &Remembered,
    ) -> (Vec<Track>, Vec<Fetch>) {
        let mut tracks: HashMap<(Channel, i64), Track> = HashMap::new();
        let mut unknown = Vec::new();
        for (fetch, judge_from, checkpoint) in fetches {
            let known = lock(states).before(&fetch.channel, fetch.next);
            match known.filter(|(at, _)| *at >= judge_from) {
                Some((at, state)) => join(&mut tracks, at, || state, fetch),
                None if !checkpoint => {
                    join(&mut tracks, judge_from, || beginning(judge_from), fetch);
                }
                None => unknown.push(fetch),
            }
        }
        let mut moved = Vec::new();
        if !unknown.is_empty() {
            let channels = channels(&unknown, |fetch| &fetch.channel);
            let mut ground = match self
                .ground(place, &channels, extent.log, 0, CHECKPOINT)
                .await
            {
                Ok(ground) => ground,
                Err(_) => {
                    moved.extend(unknown.into_iter().filter_map(put_off));
                    return (tracks.into_values().collect(), moved);
                }
            };
            // Below the log's beginning there is nothing to judge.
            let from = ground.next.max(extent.log.low);
            for fetch in unknown {
                if from > fetch.next {
                    // The store has moved past the position meanwhile: the next turn finds the rows there.
                    moved.push(fetch);
                    continue;
                }
                let channel = fetch.channel.clone();
                join(&mut tracks, from, || ground.take(&channel).0, fetch);
            }
        }
        (tracks.into_values().collect(), moved)
    }
}

/// Sorts the pulls by who answers them. Those whose place nothing holds any more are told so at once.
fn sort(fetches: Vec<Fetch>, extent: &Extent) -> Sorted {
    let mut sorted = Sorted::default();
    for fetch in fetches.into_iter().filter(|fetch| !fetch.reply.is_gone()) {
        match plan::source(fetch.next, extent) {
            Source::Store { until } => {
                let lost_to = match plan::source(until, extent) {
                    Source::Gap { to } if until < fetch.until => Some(to),
                    _ => None,
                };
                let until = until.min(fetch.until);
                sorted.stored.push(Paged {
                    fetch,
                    until,
                    lost_to,
                });
            }
            Source::Log {
                judge_from,
                checkpoint,
            } => sorted.logged.push((fetch, judge_from, checkpoint)),
            Source::Gap { to } => tell(fetch, to),
        }
    }
    sorted
}

fn join(
    tracks: &mut HashMap<(Channel, i64), Track>,
    from: i64,
    state: impl FnOnce() -> ChannelState,
    fetch: Fetch,
) {
    let track = tracks.entry((fetch.channel.clone(), from));
    let track = track.or_insert_with(|| Track {
        channel: fetch.channel.clone(),
        from,
        state: state(),
        pulls: Vec::new(),
    });
    track.pulls.push(fetch);
}

/// Refused for now: the asker comes back.
fn put_off(fetch: Fetch) -> Option<Fetch> {
    fetch.reply.send(Err(away()));
    None
}

/// Those of the first channels that one question may name, and the rest.
fn some_channels<T>(all: Vec<T>, channel: impl Fn(&T) -> &Channel) -> (Vec<T>, Vec<T>) {
    let mut chosen: HashSet<Channel> = HashSet::new();
    all.into_iter().partition(|item| {
        let channel = channel(item);
        chosen.contains(channel)
            || (chosen.len() < CHECKPOINTS_MAX && chosen.insert(channel.clone()))
    })
}

fn channels<T>(of: &[T], channel: impl Fn(&T) -> &Channel) -> Vec<Channel> {
    let distinct: HashSet<&Channel> = of.iter().map(channel).collect();
    distinct.into_iter().cloned().collect()
}

fn lock(states: &Remembered) -> MutexGuard<'_, States> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}
