//! One reading of the log that fills the pulls of many readers: each channel is judged once, each event framed once.
//! Pure; the answers go out when the reading has ended and is known to be of the topic that was meant.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::ControlFlow,
    sync::Arc,
};

use schemas::Channel;
use state::{ChannelState, Judged};

use super::{SKIP, Scanned, catchup::Fetch, catchup::answer, states::States};
use crate::{
    event::{Delivered, Framer},
    place::Place,
};

/// Pulls of one channel, and the acceptance rule's state from which they are judged.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) channel: Channel,
    /// The state has judged everything below.
    pub(crate) from: i64,
    pub(crate) state: ChannelState,
    pub(crate) pulls: Vec<Fetch>,
}

/// The reading under way.
pub(crate) struct Sweep<'a> {
    framer: &'a Framer,
    place: &'a Place,
    lines: HashMap<Channel, Line>,
    /// Where tracks begin that were not reached yet, and how many there.
    ahead: BTreeMap<i64, usize>,
    /// Pulls being filled.
    filling: usize,
    filled: Vec<Filled>,
}

/// A pull that has enough, and the offset below which everything was looked at for it.
type Filled = (Filling, i64);

/// One channel's tracks: the one that is judged now, and those that begin further on.
#[derive(Default)]
struct Line {
    judged: Option<Judging>,
    later: VecDeque<Track>,
}

struct Judging {
    state: ChannelState,
    pulls: Vec<Filling>,
}

struct Filling {
    fetch: Fetch,
    events: Vec<Arc<Delivered>>,
    bytes: usize,
}

impl<'a> Sweep<'a> {
    /// A reading that begins at the lowest `from` of the tracks.
    pub(crate) fn new(framer: &'a Framer, place: &'a Place, mut tracks: Vec<Track>) -> Self {
        tracks.sort_by_key(|track| track.from);
        let mut sweep = Self {
            framer,
            place,
            lines: HashMap::new(),
            ahead: BTreeMap::new(),
            filling: 0,
            filled: Vec::new(),
        };
        for track in tracks {
            *sweep.ahead.entry(track.from).or_default() += 1;
            let line = sweep.lines.entry(track.channel.clone()).or_default();
            line.later.push_back(track);
        }
        sweep
    }

    /// Where the reading begins.
    pub(crate) fn from(&self) -> Option<i64> {
        self.ahead.first_key_value().map(|(from, _)| *from)
    }

    /// Where the last of the pulls ends.
    pub(crate) fn until(&self) -> i64 {
        let lines = self.lines.values();
        let pulls = lines.flat_map(|line| line.later.iter().flat_map(|track| &track.pulls));
        pulls.map(|fetch| fetch.until).max().unwrap_or(0)
    }

    pub(crate) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.lines.keys()
    }

    /// The next record of one of the channels. Stops when nobody is left to fill, or the next is far away.
    pub(crate) fn record(&mut self, record: &Scanned, states: &mut States) -> ControlFlow<()> {
        let Some(line) = self.lines.get_mut(&record.event.channel) else {
            return ControlFlow::Continue(());
        };
        while let Some(track) = line.later.pop_front_if(|t| t.from <= record.offset) {
            match self.ahead.get_mut(&track.from) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.ahead.remove(&track.from)),
            }
            self.filling += track.pulls.len();
            line.begin(track);
        }
        if let Some(judging) = &mut line.judged {
            let before = judging.pulls.len();
            let filled = judging.take(record, self.framer, self.place, states);
            self.filled.extend(filled);
            self.filling -= before - judging.pulls.len();
            if judging.pulls.is_empty() {
                line.judged = None;
            }
        }
        match self.from() {
            None if self.filling == 0 => ControlFlow::Break(()),
            Some(from) if self.filling == 0 && from > record.offset + SKIP => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// The reading has ended, everything below `reached` was handed out. Who was filled is answered, who was being
    /// filled with what there is; who was not reached is given back.
    pub(crate) fn end(self, reached: i64, states: &mut States) -> Vec<Fetch> {
        let mut left = Vec::new();
        self.filled.into_iter().for_each(|(pull, at)| pull.done(at));
        for (channel, mut line) in self.lines {
            while let Some(track) = line.later.pop_front_if(|t| t.from < reached) {
                line.begin(track);
            }
            for track in line.later {
                states.put(&channel, track.from, track.state);
                left.extend(track.pulls);
            }
            let Some(judging) = line.judged else { continue };
            if judging.pulls.iter().any(|pull| reached < pull.fetch.until) {
                states.put(&channel, reached, judging.state);
            }
            for pull in judging.pulls {
                pull.done(reached);
            }
        }
        left
    }

    /// All pulls, unanswered.
    pub(crate) fn abandon(self) -> Vec<Fetch> {
        let filled = self.filled.into_iter();
        let mut left: Vec<Fetch> = filled.map(|(pull, _)| pull.fetch).collect();
        for line in self.lines.into_values() {
            left.extend(line.later.into_iter().flat_map(|track| track.pulls));
            let judged = line.judged.into_iter().flat_map(|judging| judging.pulls);
            left.extend(judged.map(|pull| pull.fetch));
        }
        left
    }
}

impl Line {
    /// A track is reached. Where the channel is judged already, that state is the track's own: there was no record
    /// of the channel between.
    fn begin(&mut self, track: Track) {
        let judging = self.judged.get_or_insert_with(|| Judging {
            state: track.state,
            pulls: Vec::new(),
        });
        let pulls = track.pulls.into_iter().map(|fetch| Filling {
            fetch,
            events: Vec::new(),
            bytes: 0,
        });
        judging.pulls.extend(pulls);
    }
}

impl Judging {
    /// Judges one more record, and gives the pulls that have enough with it.
    fn take(
        &mut self,
        record: &Scanned,
        framer: &Framer,
        place: &Place,
        states: &mut States,
    ) -> Vec<Filled> {
        let offset = record.offset;
        let passed = self.pulls.extract_if(.., |p| p.fetch.until <= offset);
        let mut enough: Vec<Filled> = passed.map(|pull| (pull, offset)).collect();
        if self.pulls.is_empty() {
            return enough;
        }
        let judged = self.state.judge(&record.event, offset, record.at_ms);
        let Judged::Accepted { prev, .. } = judged else {
            return enough;
        };
        let mut framed: Option<Arc<Delivered>> = None;
        for pull in &mut self.pulls {
            if offset < pull.fetch.next {
                continue;
            }
            let event = framed.get_or_insert_with(|| {
                framer.accepted(place, &record.event, offset, record.at_ms, prev)
            });
            pull.bytes += event.line().len();
            pull.events.push(Arc::clone(event));
        }
        let known = enough.len();
        let is_full = |pull: &mut Filling| pull.fetch.room.is_filled(pull.events.len(), pull.bytes);
        let full = self.pulls.extract_if(.., is_full);
        enough.extend(full.map(|pull| (pull, offset + 1)));
        if enough.len() > known {
            states.put(&record.event.channel, offset + 1, self.state.clone());
        }
        enough
    }
}

impl Filling {
    /// Answers: everything below `reached` was looked at.
    fn done(self, reached: i64) {
        let start = self.fetch.next;
        let next = reached.min(self.fetch.until).max(start);
        answer(self.fetch, start, None, self.events, next);
    }
}
