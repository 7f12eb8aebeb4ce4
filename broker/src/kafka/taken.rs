//! Since when everything that was queued has been taken: what has not come by then is not on its way.

use std::time::Instant;

/// How much of the queue has been taken. It is one queue, first in, first out, and beside a backlog it is never empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// Everything queued at this moment has been taken.
    pub(crate) drained: Instant,
    /// Of what was queued at a later moment so much is left.
    left: (usize, Instant),
}

impl Taken {
    pub(crate) fn new(now: Instant) -> Taken {
        Taken {
            drained: now,
            left: (0, now),
        }
    }

    /// So many were taken, and so many are queued now.
    pub(crate) fn took(&mut self, count: usize, queued: usize, now: Instant) {
        self.left.0 = self.left.0.saturating_sub(count);
        if self.left.0 == 0 {
            self.drained = self.left.1;
            self.left = (queued, now);
        }
        if queued == 0 {
            self.drained = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_queue_that_is_never_empty_is_drained_up_to_what_has_been_taken() {
        let zero = Instant::now();
        let at = |second| zero + Duration::from_secs(second);
        let mut taken = Taken::new(zero);
        taken.took(10, 100, at(1));
        assert_eq!(taken.drained, zero, "a hundred wait since the first second");
        taken.took(60, 500, at(2));
        assert_eq!(taken.drained, zero);
        taken.took(60, 500, at(3));
        assert_eq!(taken.drained, at(1));
        taken.took(499, 300, at(4));
        assert_eq!(taken.drained, at(1));
        taken.took(301, 0, at(5));
        assert_eq!(taken.drained, at(5));
    }
}
