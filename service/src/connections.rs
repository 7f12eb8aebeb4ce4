//! How many sockets a listener holds at once, and the hand-hold a handler takes on one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among the connections of a listener, given back when the last clone is dropped. Every request
/// carries one in its extensions; a handler that takes the socket over (an upgrade to WebSocket) keeps it
/// for as long as it keeps the socket, so that upgraded connections go on counting.
#[derive(Clone, Debug)]
pub struct Slot {
    _held: Arc<Held>,
}

/// The count and its cap.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    open: Arc<AtomicUsize>,
    max: usize,
}

impl Slots {
    pub(crate) fn new(max: usize) -> Self {
        Slots {
            open: Arc::default(),
            max,
        }
    }

    /// None when the listener is full.
    pub(crate) fn take(&self) -> Option<Slot> {
        let max = self.max;
        self.open
            .try_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                (open < max).then_some(open + 1)
            })
            .ok()?;
        Some(Slot {
            _held: Arc::new(Held(Arc::clone(&self.open))),
        })
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_its_last_holder_lets_go() {
        let slots = Slots::new(1);
        let first = slots.take().unwrap();
        let kept = first.clone();
        drop(first);
        assert!(slots.take().is_none());
        drop(kept);
        assert_eq!(slots.open(), 0);
        assert!(slots.take().is_some());
    }
}
