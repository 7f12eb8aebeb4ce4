//! The ids this node has seen stored lately, so that a retry can be answered with the place of the first.
//!
//! Pure: time comes in. A convenience only: whether a record counts is decided by the log (D3).

use std::num::NonZeroUsize;

use lru::LruCache;
use schemas::Channel;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// How long an id is answered from memory, ms. Less than the acceptance rule's horizon, because our clock
/// and the log's may differ by a little: what is answered here must be void in the log too.
const KNOWN_MS: i64 = state::HORIZON_MS - 60_000;

/// Ids of one partition and where their events stand.
#[derive(Debug)]
pub(crate) struct KnownIds {
    /// Ids come from clients, so the hash is keyed.
    key: (u64, u64),
    ids: LruCache<u128, Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    offset: i64,
    at_ms: i64,
}

impl KnownIds {
    pub(crate) fn new(ids_max: usize) -> KnownIds {
        let key = uuid::Uuid::new_v4().as_u64_pair();
        KnownIds {
            key,
            ids: LruCache::new(NonZeroUsize::new(ids_max).unwrap_or(NonZeroUsize::MIN)),
        }
    }

    /// The offset of the event with this id, if it is known and young enough to be sure.
    pub(crate) fn find(&self, channel: &Channel, id: &str, now_ms: i64) -> Option<i64> {
        let stored = self.ids.peek(&self.hash(channel, id))?;
        let age_ms = now_ms.saturating_sub(stored.at_ms);
        (age_ms < KNOWN_MS).then_some(stored.offset)
    }

    /// Remembers an event; one that is known and young keeps its first place, which is returned.
    pub(crate) fn insert(
        &mut self,
        channel: &Channel,
        id: &str,
        offset: i64,
        at_ms: i64,
    ) -> Option<i64> {
        if let Some(first) = self.find(channel, id, at_ms) {
            return Some(first);
        }
        let hash = self.hash(channel, id);
        self.ids.put(hash, Stored { offset, at_ms });
        None
    }

    fn hash(&self, channel: &Channel, id: &str) -> u128 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        hasher.write(channel.as_str().as_bytes());
        // No channel contains a blank, so no two pairs run together.
        hasher.write_u8(b' ');
        hasher.write(id.as_bytes());
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> Channel {
        Channel::parse(text).unwrap()
    }

    #[test]
    fn the_first_place_of_an_id_is_remembered_within_the_horizon() {
        let mut known = KnownIds::new(10);
        let session = channel("session.1");
        assert_eq!(known.insert(&session, "a", 7, 1_000), None);
        assert_eq!(known.find(&session, "a", 2_000), Some(7));
        assert_eq!(known.insert(&session, "a", 9, 3_000), Some(7));
        assert_eq!(known.find(&channel("session.2"), "a", 2_000), None);
        assert_eq!(
            known.find(&session, "a", 541_000),
            None,
            "not sure any more"
        );
        assert_eq!(known.insert(&session, "a", 99, 700_000), None);
        assert_eq!(known.find(&session, "a", 700_001), Some(99));
    }

    #[test]
    fn the_oldest_ids_go_first() {
        let mut known = KnownIds::new(2);
        let session = channel("session.1");
        for (offset, id) in ["a", "b", "c"].into_iter().enumerate() {
            known.insert(&session, id, i64::try_from(offset).unwrap(), 0);
        }
        assert_eq!(known.find(&session, "a", 0), None);
        assert_eq!(known.find(&session, "c", 0), Some(2));
    }
}
