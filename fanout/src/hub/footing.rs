//! What a hub does when the log is not what it was: begin again where retention or a cut has passed it, and stop
//! reading a topic that is another one now (D2).

use broker::Reader;
use protocol::ProtocolError;
use schemas::Channel;

use super::{Hub, feed::Phase, hot::Slot};
use crate::{
    chunk::{away, moved},
    mailbox::ToShard,
};

impl Hub {
    /// The log no longer holds where we read: drop what we know of the partition and begin again at its end, if it is
    /// still the pinned topic. Who listened pulls from where it is, and learns of the gap if there is one.
    pub(super) fn reopen(&mut self, index: usize, reader: &mut Reader) {
        self.broken(index, reader);
        self.forget_all(index, &away());
        self.feeds[index].phase = Phase::Opening;
        self.ask_end(index);
    }

    /// Something about the topics has changed: those that are others now are not read any more.
    pub(super) fn topics_changed(&mut self, reader: &mut Reader) {
        for index in 0..self.feeds.len() {
            let feed = &self.feeds[index];
            let lost = self.directory.watch().lost(&feed.place.topic).is_some();
            if lost && !matches!(feed.phase, Phase::Closed) {
                self.broken(index, reader);
                self.forget_all(index, &moved());
                self.feeds[index].phase = Phase::Closed;
            }
        }
    }

    fn forget_all(&mut self, index: usize, why: &ProtocolError) {
        let channels: Vec<Channel> = self.feeds[index].slots.keys().cloned().collect();
        for channel in channels {
            match self.feeds[index].remove(&channel) {
                Some(Slot::Hot(hot)) => {
                    self.ring_bytes = self.ring_bytes.saturating_sub(hot.weight());
                    for (shard, round) in self.rounds.iter_mut().enumerate() {
                        if hot.listeners[shard] > 0 {
                            round.push(ToShard::Cut {
                                channel: channel.clone(),
                            });
                        }
                    }
                    for pull in hot.parked {
                        self.answer(pull.reply, Err(why.clone()));
                    }
                }
                Some(Slot::Warming(warming)) => {
                    for pull in warming.pulls {
                        self.answer(pull.reply, Err(why.clone()));
                    }
                }
                None => {}
            }
        }
    }
}
