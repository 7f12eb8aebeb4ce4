//! One partition of the state topic as this node has read it: the kept cursors that the store may not have yet. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use schemas::KeptKey;

use super::{Mark, reach};

/// The records read from an offset on, folded: of each key the furthest.
#[derive(Debug)]
pub(super) struct Tail {
    /// The records from this offset on are in here.
    base: i64,
    /// The topic has nothing before `base`.
    whole: bool,
    /// The records below this offset were read.
    read_to: i64,
    /// So were those below this one by the tails before it: whatever came late among them is dealt with.
    known_to: i64,
    /// There are more keys than it may hold.
    overflowed: bool,
    max: usize,
    by_key: HashMap<Arc<KeptKey>, Kept>,
    by_offset: BTreeMap<i64, Arc<KeptKey>>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    mark: Mark,
    offset: i64,
}

/// What a record came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It is as far as anything known, or further.
    Counts,
    /// This is further: the record came late and counts for nobody.
    Late(Mark),
}

impl Tail {
    /// Begins at `base`; `whole`: nothing is before it. At most `max` keys are kept.
    pub(super) fn new(base: i64, whole: bool, max: usize) -> Self {
        Self {
            base,
            whole,
            read_to: base,
            known_to: base,
            overflowed: false,
            max,
            by_key: HashMap::new(),
            by_offset: BTreeMap::new(),
        }
    }

    /// Takes the place of another one.
    pub(super) fn instead_of(mut self, other: Option<&Self>) -> Self {
        if let Some(other) = other {
            self.known_to = other.known_to.max(other.read_to);
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Everything below `next` was read.
    pub(super) fn reached(&mut self, next: i64) {
        self.read_to = self.read_to.max(next);
    }

    /// Whether a record of this offset is read for the first time.
    pub(super) fn is_news(&self, offset: i64) -> bool {
        offset >= self.known_to
    }

    /// The next record, ascending by offset.
    pub(super) fn read(&mut self, offset: i64, key: Arc<KeptKey>, mark: Mark) -> Read {
        if let Some(known) = self.by_key.get(&key) {
            if reach(mark.position) < reach(known.mark.position) {
                return Read::Late(known.mark);
            }
            self.by_offset.remove(&known.offset);
        }
        self.by_offset.insert(offset, Arc::clone(&key));
        self.by_key.insert(key, Kept { mark, offset });
        if self.by_key.len() > self.max
            && let Some((&oldest, _)) = self.by_offset.first_key_value()
        {
            self.overflowed = true;
            self.drop_below(oldest + 1);
        }
        Read::Counts
    }

    /// The store has everything below `next`.
    pub(super) fn stored(&mut self, next: i64) {
        if next > self.base {
            self.drop_below(next);
        }
    }

    fn drop_below(&mut self, base: i64) {
        let rest = self.by_offset.split_off(&base);
        for key in std::mem::replace(&mut self.by_offset, rest).values() {
            self.by_key.remove(key);
        }
        self.base = base;
        self.whole = false;
    }

    /// Whether nothing below `end` is missing in a store that has everything below `stored` and this together.
    pub(super) fn joins(&self, stored: Option<i64>, end: i64) -> bool {
        self.read_to >= end && (self.whole || stored.is_some_and(|next| next >= self.base))
    }

    /// Whether another one, begun at the topic's beginning, could say by itself what is kept.
    pub(super) fn could_be_whole(&self) -> bool {
        !self.whole && !self.overflowed
    }

    pub(super) fn find(&self, key: &KeptKey) -> Option<Mark> {
        self.by_key.get(key).map(|kept| kept.mark)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::Position;
    use schemas::Channel;

    use super::*;

    fn key(n: usize) -> Arc<KeptKey> {
        Arc::new(KeptKey {
            channel: Channel::parse("session.42").unwrap(),
            user: "u1".into(),
            durable: n.to_string(),
        })
    }

    fn mark(generation: u16, next: i64) -> Mark {
        Mark {
            position: Position {
                generation,
                partition: 0,
                next,
            },
            at_ms: 0,
        }
    }

    #[test]
    fn a_late_record_counts_for_nobody_and_a_newer_generation_is_further() {
        let mut tail = Tail::new(0, true, 10);
        assert_eq!(tail.read(0, key(1), mark(0, 9)), Read::Counts);
        assert_eq!(tail.read(1, key(1), mark(0, 7)), Read::Late(mark(0, 9)));
        assert_eq!(tail.read(2, key(1), mark(0, 9)), Read::Counts);
        assert_eq!(tail.read(3, key(1), mark(1, 2)), Read::Counts);
        assert_eq!(tail.find(&key(1)), Some(mark(1, 2)));
    }

    #[test]
    fn over_its_bound_it_forgets_the_oldest_and_no_longer_claims_to_be_whole() {
        let mut tail = Tail::new(0, true, 3);
        for n in 0..3 {
            tail.read(n, key(n as usize), mark(0, 1));
        }
        assert!(tail.joins(None, 0) && !tail.could_be_whole());
        tail.read(3, key(3), mark(0, 1));
        assert_eq!((tail.len(), tail.find(&key(0))), (3, None));
        assert!(!tail.joins(None, 0) && !tail.joins(Some(0), 0) && tail.joins(Some(1), 0));
        assert!(
            !tail.could_be_whole(),
            "from the beginning there are as many again"
        );
    }

    #[test]
    fn what_the_store_took_can_be_read_again_without_being_news() {
        let mut tail = Tail::new(0, true, 10);
        tail.read(0, key(0), mark(0, 1));
        tail.reached(1);
        tail.stored(1);
        assert!(!tail.joins(None, 1) && tail.could_be_whole());
        let mut again = Tail::new(0, true, 10).instead_of(Some(&tail));
        assert!(!again.is_news(0) && again.is_news(1));
        again.read(0, key(0), mark(0, 1));
        again.reached(1);
        assert!(again.joins(None, 1));
        assert_eq!(again.find(&key(0)), Some(mark(0, 1)));
        let later = Tail::new(0, true, 10)
            .instead_of(Some(&Tail::new(0, true, 10).instead_of(Some(&tail))));
        assert!(!later.is_news(0), "also by way of one that read nothing");
    }

    proptest! {
        /// Store and tail together always know the furthest, wherever the store stands and whenever it was asked.
        #[test]
        fn the_tail_and_what_is_stored_are_always_the_whole_truth(
            records in prop::collection::vec((0usize..4, 0i64..20), 1..60),
            begin in 0usize..10,
            looks in prop::collection::vec((0usize..60, 0usize..60), 0..10),
        ) {
            let begin = begin.min(records.len());
            let furthest = |upto: usize, of: usize| {
                records[..upto].iter().filter(|(k, _)| *k == of).map(|(_, next)| *next).max()
            };
            let mut tail = Tail::new(begin as i64, begin == 0, 100);
            let mut stored = begin;
            for (offset, (of, next)) in records.iter().enumerate().skip(begin) {
                tail.read(offset as i64, key(*of), mark(0, *next));
                for (at, lag) in &looks {
                    if *at == offset {
                        // The persister moves on, and this node hears of it later or never.
                        stored = stored.max(offset.saturating_sub(*lag));
                        if lag % 2 == 0 {
                            tail.stored(stored as i64);
                        }
                    }
                }
                let read = offset as i64 + 1;
                prop_assert!(!tail.joins(Some(stored as i64), read));
                tail.reached(read);
                prop_assert!(tail.joins(Some(stored as i64), read));
                for of in 0..4 {
                    let by_tail = tail.find(&key(of)).map(|m| m.position.next);
                    prop_assert_eq!(by_tail.max(furthest(stored, of)), furthest(offset + 1, of));
                }
                // A store that was rebuilt is behind again: then the two do not join, and it shows.
                if tail.base > 0 {
                    prop_assert!(!tail.joins(Some(tail.base - 1), read));
                }
            }
        }
    }
}
