//! How a hub answers pulls: read as far as the log, warm the channel, then ring or catch-up.

use std::sync::Arc;

use protocol::ProtocolError;

use super::{
    Hub,
    feed::Feed,
    feed::Phase,
    hot::Hot,
    hot::Slot,
    hot::Warming,
    hot::may_read_job,
    work,
    work::{Done, End},
};
use crate::{
    chunk::{Chunk, Pulled},
    mailbox::ToShard,
    place::{Place, Spot},
    pull::{Pull, Reply, Want},
    sub::From,
    tier::{Fetch, Warm},
};

impl Hub {
    /// A pull begins: make sure that the partition is read, and read far enough.
    pub(super) fn pull(&mut self, pull: Pull) {
        let index = self.feed(self.directory.durable(&pull.channel));
        if let Phase::Closed = self.feeds[index].phase {
            self.feeds[index].phase = Phase::Opening;
        }
        self.open_signals(index);
        let feed = &mut self.feeds[index];
        feed.used = self.now;
        if matches!(feed.phase, Phase::Reading) && !pull.barrier {
            return self.reach(index, pull);
        }
        feed.barrier.unasked.push(pull);
        self.ask_end(index);
    }

    /// The feed of a place, closed as yet when it is new.
    fn feed(&mut self, place: Place) -> usize {
        if let Some(&index) = self.by_place.get(&place) {
            return index;
        }
        self.feeds.push(Feed::new(place.clone(), self.now));
        self.by_place.insert(place, self.feeds.len() - 1);
        self.feeds.len() - 1
    }

    /// Interest in a partition (D11) is interest in the ephemeral one beside it, too: where that is not read, reading
    /// begins at its end. It is not read at first, after nobody needed it for a while, and when its end could not be had.
    pub(super) fn open_signals(&mut self, index: usize) {
        let signals = match self.feeds[index].signals {
            Some(signals) => signals,
            None => {
                let beside = self.directory.signals_beside(&self.feeds[index].place);
                let Some(place) = beside else { return };
                let signals = self.feed(place);
                self.feeds[index].signals = Some(signals);
                signals
            }
        };
        let feed = &mut self.feeds[signals];
        feed.used = self.now;
        let closed = matches!(feed.phase, Phase::Closed);
        if closed && self.directory.watch().lost(&feed.place.topic).is_none() {
            feed.phase = Phase::Opening;
            self.ask_end(signals);
        }
    }

    /// One question at a time for a partition's end; who comes meanwhile is answered by the next one.
    pub(super) fn ask_end(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        if feed.barrier.in_flight {
            return;
        }
        feed.barrier.in_flight = true;
        feed.barrier.asked_at = self.now;
        let unasked = std::mem::take(&mut feed.barrier.unasked);
        feed.barrier.asked.extend(unasked);
        let verify = feed.begins();
        let (tiers, place, read_to) = (Arc::clone(&self.tiers), feed.place.clone(), feed.read_to);
        self.work
            .spawn(work::end_of(tiers, place, index, verify, read_to));
    }

    /// Reading stopped while its end was asked for: that answer says nothing about where to begin again.
    fn ask_verified(&mut self, index: usize) {
        let barrier = &mut self.feeds[index].barrier;
        barrier.in_flight = false;
        let asked = std::mem::take(&mut barrier.asked);
        barrier.unasked.extend(asked);
        self.ask_end(index);
    }

    /// The partition is read far enough: warm the channel if need be.
    pub(super) fn reach(&mut self, index: usize, pull: Pull) {
        let passing = self.is_passing(&pull);
        let feed = &mut self.feeds[index];
        match feed.slots.get_mut(&pull.channel) {
            Some(Slot::Hot(_)) => self.serve(index, pull),
            Some(Slot::Warming(warming)) => warming.pulls.push(pull),
            None if passing => self.pass(index, pull),
            None => {
                let channel = pull.channel.clone();
                let mut warming = Warming::new(feed.read_to);
                warming.pulls.push(pull);
                feed.insert(channel.clone(), Slot::Warming(warming));
                feed.cold.push(channel);
                self.warm(index);
            }
        }
    }

    /// Warms all cold channels of a feed together, one batch at a time.
    pub(super) fn warm(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        if feed.warming || feed.cold.is_empty() {
            return;
        }
        feed.warming = true;
        let mut channels = Vec::with_capacity(feed.cold.len());
        for channel in std::mem::take(&mut feed.cold) {
            let begun = match feed.slots.get_mut(&channel) {
                Some(Slot::Warming(warming)) => warming.begun.take().map(|begun| *begun),
                _ => None,
            };
            channels.push((channel, begun));
        }
        // Records from each channel's own `live_from` are buffered, so reading up to the present covers all.
        let live_from = feed.read_to;
        let tiers = Arc::clone(&self.tiers);
        self.work.spawn(work::warm(
            tiers,
            feed.place.clone(),
            index,
            channels,
            live_from,
        ));
    }

    /// A warmed channel catches up with what was buffered, and its pulls are answered.
    pub(super) fn warmed(&mut self, index: usize, channel: schemas::Channel, warm: Warm) {
        let feed = &mut self.feeds[index];
        let Some(Slot::Warming(warming)) = feed.remove(&channel) else {
            return;
        };
        // Overflowed, or a warming of before the feed was opened again: it does not reach what was buffered.
        if warming.stale || warm.next < warming.live_from {
            let mut again = Warming::new(feed.read_to);
            again.pulls = warming.pulls;
            again.begun = (warm.next >= warming.live_from).then(|| Box::new(warm));
            feed.insert(channel.clone(), Slot::Warming(again));
            feed.cold.push(channel);
            return;
        }
        let mut hot = Hot::new(warm, self.shards.len(), self.now);
        for record in &warming.buffered {
            hot.take(&self.tiers.framer, &feed.place, record);
        }
        for event in hot.warm.ring.iter() {
            self.ring_bytes += event.weight();
            self.aged.push_back(super::hot::Aged {
                place: index,
                channel: channel.clone(),
                offset: event.offset,
                at: self.now,
            });
        }
        self.ring_bytes += hot.warm.folded.weight();
        feed.insert(channel, Slot::Hot(Box::new(hot)));
        for pull in warming.pulls {
            self.serve(index, pull);
        }
    }

    /// A pull of a hot channel.
    pub(super) fn serve(&mut self, index: usize, pull: Pull) {
        let feed = &mut self.feeds[index];
        let (read_to, cut) = (feed.read_to, feed.cut);
        let place = feed.place.clone();
        let Some(Slot::Hot(hot)) = feed.slots.get_mut(&pull.channel) else {
            return self.answer(pull.reply, Err(crate::chunk::away()));
        };
        hot.used = self.now;
        if let Err(error) = may_read_job(&pull, hot) {
            return self.answer(pull.reply, Err(error));
        }
        let next = match pull.from {
            From::Next(next) => next,
            // A checkpoint may be ahead of this reader, and the state with it.
            From::Latest if pull.want != Want::Events => read_to.max(hot.warm.next),
            From::Latest => read_to,
            From::Last(n) => match hot.warm.ring.last(n as usize, |e| pull.wanted.passes(e)) {
                Some(next) => next,
                // The ring has all there is: fewer than n are everything.
                None if hot.warm.ring.from() <= hot.warm.floor => hot.warm.ring.from(),
                None => return self.resolve(place, index, pull),
            },
            From::Earliest | From::Time(_) => return self.resolve(place, index, pull),
        };
        if next > read_to.max(hot.warm.next) {
            let chunk = Chunk::beyond(pull.channel.clone(), next, (read_to, cut));
            if pull.want != Want::Events {
                return self.with_state(index, pull, (next, chunk.gap));
            }
            return self.answer(pull.reply, Ok(chunk));
        }
        if pull.want != Want::Events {
            return self.with_state(index, pull, (next, None));
        }
        let Some(slice) = hot.warm.ring.after(next, pull.room.bytes) else {
            let until = hot.warm.ring.from();
            return self.catch_up.fetch(Fetch {
                place,
                channel: pull.channel,
                next,
                until,
                room: pull.room,
                reply: pull.reply,
            });
        };
        if slice.reached_end && slice.events.is_empty() && pull.park {
            return hot.parked.push(Pull {
                from: From::Next(next),
                ..pull
            });
        }
        let after = match slice.events.last() {
            Some(last) if !slice.reached_end => last.offset + 1,
            Some(last) => read_to.max(last.offset + 1),
            None => read_to.max(next),
        };
        let live = slice.reached_end && pull.attach.is_some();
        if let (true, Some(shard)) = (live, pull.attach) {
            hot.listeners[shard] += 1;
        }
        let chunk = Chunk {
            live,
            reached_end: slice.reached_end,
            ..Chunk::of(pull.channel, next, None, slice.events, after)
        };
        self.answer(pull.reply, Ok(chunk));
    }

    /// Makes an indefinite position definite, off the hub; the pull comes back with an offset.
    pub(super) fn resolve(&mut self, place: Place, index: usize, pull: Pull) {
        let read_to = self.feeds[index].read_to;
        let spot = Spot {
            place,
            channel: pull.channel.clone(),
        };
        self.work.spawn(work::resolve(
            Arc::clone(&self.tiers),
            spot,
            index,
            read_to,
            pull,
        ));
    }

    /// Answers to shards travel with the round, in order with the broadcasts.
    pub(super) fn answer(&mut self, reply: Reply, pulled: Pulled) {
        let (reply, pulled) = reply.unfold(pulled);
        match reply {
            Reply::Shard { mailbox, sub } => {
                let shard = mailbox.shard();
                self.rounds[shard].push(ToShard::Pulled {
                    sub,
                    pulled: pulled.map(Box::new),
                });
            }
            once => once.send(pulled),
        }
    }

    pub(super) fn done(&mut self, done: Done, reader: &mut broker::Reader) {
        match done {
            Done::End {
                index, verified, ..
            } if self.feeds[index].begins() && !verified => self.ask_verified(index),
            Done::End {
                index, end, cut, ..
            } => {
                self.feeds[index].was_cut(cut);
                self.ended(index, end, reader);
            }
            Done::Warmed {
                index,
                channels,
                warmed,
            } => {
                self.feeds[index].warming = false;
                match warmed {
                    Ok(warmed) => {
                        for (channel, warm) in warmed {
                            self.warmed(index, channel, warm);
                        }
                    }
                    Err(error) => {
                        for channel in channels {
                            if let Some(Slot::Warming(warming)) = self.feeds[index].remove(&channel)
                            {
                                for pull in warming.pulls {
                                    self.answer(pull.reply, Err(error.clone()));
                                }
                            }
                        }
                    }
                }
                self.warm(index);
            }
            Done::Resolved { index, pull, next } => match next {
                Ok(next) => self.reach(
                    index,
                    Pull {
                        from: From::Next(next),
                        ..pull
                    },
                ),
                Err(error) => self.answer(pull.reply, Err(error)),
            },
            Done::Stated {
                index,
                pull,
                next,
                state,
            } => self.stated(index, pull, (next, state)),
        }
    }

    /// The partition's end as of a moment after the question: the pulls that asked wait until it is read.
    fn ended(
        &mut self,
        index: usize,
        end: Result<End, ProtocolError>,
        reader: &mut broker::Reader,
    ) {
        let feed = &mut self.feeds[index];
        feed.barrier.in_flight = false;
        let asked = std::mem::take(&mut feed.barrier.asked);
        match end {
            Ok(End { all, readable }) => {
                feed.freshness.ended(all, feed.barrier.asked_at);
                match feed.phase {
                    Phase::Opening => {
                        if readable < feed.read_to {
                            feed.was_cut(Some(readable));
                        }
                        feed.read_to = readable;
                        self.assign(index, reader);
                    }
                    Phase::Broken { .. } => self.assign(index, reader),
                    Phase::Reading | Phase::Closed => {}
                }
                let feed = &mut self.feeds[index];
                // What cannot be read yet comes to who stays, and they are told that this node is not level.
                let needed = |pull: &Pull| match pull.attach {
                    Some(_) => readable,
                    None => all,
                };
                let asked = asked.into_iter().map(|pull| (needed(&pull), pull));
                feed.barrier.waiting.extend(asked);
                self.progressed(Some(index));
            }
            Err(error) => {
                for pull in asked {
                    self.answer(pull.reply, Err(error.clone()));
                }
                if matches!(self.feeds[index].phase, Phase::Opening) {
                    // Nothing was read yet: whoever asks next opens it again.
                    self.feeds[index].phase = Phase::Closed;
                }
            }
        }
        if !self.feeds[index].barrier.unasked.is_empty() {
            self.ask_end(index);
        }
    }

    /// The feed got further: who waited for that goes on.
    pub(super) fn progressed(&mut self, index: Option<usize>) {
        let Some(index) = index else { return };
        let feed = &mut self.feeds[index];
        feed.freshness.read(feed.read_to);
        for pull in feed.released() {
            self.reach(index, pull);
        }
    }
}
