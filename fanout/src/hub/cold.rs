//! Pulls in passing: a page of a cold channel's past is no reason to make the channel hot.
//!
//! To make it hot costs its dedupe ids, its last rows and a place in memory for as long as channels stay hot. Where there
//! is a store, a page costs less without. Without a store every page would read the log from its beginning.

use super::Hub;
use crate::{
    chunk::Chunk,
    pull::{Pull, Want},
    sub::From,
    tier::Fetch,
};

impl Hub {
    /// Whether the channel stays cold for it. Who may read a job is known of a hot one only.
    pub(super) fn is_passing(&self, pull: &Pull) -> bool {
        let positioned = !matches!(pull.from, From::Last(_));
        pull.passing
            && positioned
            && pull.want == Want::Events
            && pull.channel.namespace() != "jobs"
            && self.tiers.store.is_some()
    }

    /// A pull of a cold channel, of a partition that is read far enough.
    pub(super) fn pass(&mut self, index: usize, pull: Pull) {
        let feed = &self.feeds[index];
        let (read_to, cut, place) = (feed.read_to, feed.cut, feed.place.clone());
        let next = match pull.from {
            From::Next(next) => next,
            From::Latest => read_to,
            From::Last(_) | From::Earliest | From::Time(_) => {
                return self.resolve(place, index, pull);
            }
        };
        if next > read_to {
            let chunk = Chunk::beyond(pull.channel, next, (read_to, cut));
            return self.answer(pull.reply, Ok(chunk));
        }
        if next == read_to {
            let mut end = Chunk::of(pull.channel, next, None, Vec::new(), next);
            end.reached_end = true;
            return self.answer(pull.reply, Ok(end));
        }
        self.catch_up.fetch(Fetch {
            place,
            channel: pull.channel,
            next,
            until: read_to,
            room: pull.room,
            reply: pull.reply,
        });
    }
}
