//! The hot tail of one channel: its last accepted events in memory, in order, without a hole.

use std::{collections::VecDeque, sync::Arc};

use crate::event::Delivered;

/// Holds **every** accepted event of the channel whose offset is at least [`Ring::from`].
#[derive(Debug)]
pub(crate) struct Ring {
    from: i64,
    events: VecDeque<Arc<Delivered>>,
    /// Weight of all of them.
    bytes: usize,
}

/// What a ring has after a position.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) events: Vec<Arc<Delivered>>,
    /// Whether nothing is left after the last of `events`.
    pub(crate) reached_end: bool,
}

impl Ring {
    /// An empty ring that answers for every event from offset `from` on.
    pub(crate) fn new(from: i64) -> Self {
        Self {
            from,
            events: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn from(&self) -> i64 {
        self.from
    }

    pub(crate) fn push(&mut self, event: Arc<Delivered>) {
        debug_assert!(
            self.events
                .back()
                .is_none_or(|last| last.offset < event.offset)
        );
        self.bytes += event.weight();
        self.events.push_back(event);
    }

    /// Forgets the oldest event if it is the one at `offset`; says how many bytes that freed.
    pub(crate) fn evict(&mut self, offset: i64) -> usize {
        match self.events.front() {
            Some(oldest) if oldest.offset == offset => {
                let weight = oldest.weight();
                self.bytes -= weight;
                self.from = offset + 1;
                self.events.pop_front();
                if self.events.capacity() > 64 && self.events.len() * 4 < self.events.capacity() {
                    self.events.shrink_to(self.events.len() * 2);
                }
                weight
            }
            _ => 0,
        }
    }

    /// Forgets the oldest events until at most about `bytes_max` are left; the newest always stays.
    pub(crate) fn shorten(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max
            && self.events.len() > 1
            && let Some(oldest) = self.events.front().map(|e| e.offset)
        {
            self.evict(oldest);
        }
    }

    /// The events with an offset of at least `next`, at most about `bytes_max` (at least one); `None` when
    /// the ring does not reach back that far.
    pub(crate) fn after(&self, next: i64, bytes_max: usize) -> Option<Slice> {
        if next < self.from {
            return None;
        }
        let first = self.events.partition_point(|e| e.offset < next);
        let mut bytes = 0;
        let mut events = Vec::new();
        for event in self.events.range(first..) {
            if bytes > 0 && bytes + event.line().len() > bytes_max {
                return Some(Slice {
                    events,
                    reached_end: false,
                });
            }
            bytes += event.line().len();
            events.push(Arc::clone(event));
        }
        Some(Slice {
            events,
            reached_end: true,
        })
    }

    /// The position from which the last `n` events that pass `wanted` follow; `None` when the ring holds fewer.
    pub(crate) fn last(&self, n: usize, wanted: impl Fn(&Delivered) -> bool) -> Option<i64> {
        self.events
            .iter()
            .rev()
            .filter(|e| wanted(e))
            .nth(n.saturating_sub(1))
            .map(|e| e.offset)
    }

    /// Whether it is known that no event has an offset of at least `next`.
    pub(crate) fn ends_before(&self, next: i64) -> bool {
        next >= self.from && self.events.back().is_none_or(|last| last.offset < next)
    }

    /// The event at exactly this offset.
    pub(crate) fn at(&self, offset: i64) -> Option<&Arc<Delivered>> {
        let index = self.events.partition_point(|e| e.offset < offset);
        self.events.get(index).filter(|e| e.offset == offset)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Delivered>> {
        self.events.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(offsets: &[i64]) -> Ring {
        let mut ring = Ring::new(0);
        for &offset in offsets {
            ring.push(Delivered::sample(offset, "draw", None));
        }
        ring
    }

    fn offsets(slice: &Slice) -> Vec<i64> {
        slice.events.iter().map(|e| e.offset).collect()
    }

    #[test]
    fn reading_in_chunks_of_any_size_gives_every_event_once() {
        let all = [0, 3, 4, 9, 10, 11, 30];
        for bytes_max in [1, 10, 25, 1000] {
            let ring = ring(&all);
            let (mut next, mut seen) = (0, Vec::new());
            loop {
                let slice = ring.after(next, bytes_max).unwrap();
                seen.extend(offsets(&slice));
                if slice.reached_end {
                    break;
                }
                next = seen.last().unwrap() + 1;
            }
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn what_was_evicted_is_refused_and_never_skipped() {
        let mut ring = ring(&[2, 5, 8]);
        assert!(ring.evict(5) == 0, "only the oldest can go");
        assert!(ring.evict(2) > 0);
        assert!(ring.after(2, 1000).is_none());
        assert_eq!(offsets(&ring.after(3, 1000).unwrap()), [5, 8]);
    }

    #[test]
    fn a_ring_that_is_shortened_keeps_the_newest_without_a_hole() {
        let mut ring = ring(&[2, 5, 8, 9]);
        let each = ring.iter().next().unwrap().weight();
        ring.shorten(2 * each);
        assert_eq!((ring.from(), ring.len()), (6, 2));
        assert!(ring.after(5, 1000).is_none());
        ring.shorten(0);
        assert_eq!(offsets(&ring.after(9, 1000).unwrap()), [9]);
    }

    #[test]
    fn an_end_is_known_only_where_nothing_was_evicted() {
        let mut ring = ring(&[2, 5]);
        assert!(ring.ends_before(6) && !ring.ends_before(5));
        ring.evict(2);
        ring.evict(5);
        assert!(ring.ends_before(6) && !ring.ends_before(5));
    }

    #[test]
    fn the_last_n_are_counted_among_the_wanted() {
        let mut ring = ring(&[1, 2, 3]);
        ring.push(Delivered::sample(4, "chat.message", None));
        assert_eq!(ring.last(2, |e| &*e.name == "draw"), Some(2));
        assert_eq!(ring.last(2, |_| true), Some(3));
        assert_eq!(ring.last(2, |e| &*e.name == "chat.message"), None);
    }
}
