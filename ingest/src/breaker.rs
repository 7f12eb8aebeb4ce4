//! The circuit breaker of one partition: a dead broker costs one client a timeout, not every client.
//!
//! Pure: time comes in. Outcomes enter through [`Breaker::record`], [`Breaker::admit`] says whether to try.

use std::collections::VecDeque;
use std::time::Duration;

use crate::BreakerConfig;

/// How many slices the window is cut into; an outcome is forgotten with its slice.
const SLICES: u64 = 10;

/// Counts outcomes and decides whether the next append is worth trying.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: State,
    slices: VecDeque<Slice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until_ms: u64,
    },
    /// One record was let through at this time; the others wait for what becomes of it.
    Probing {
        since_ms: u64,
    },
}

#[derive(Debug)]
struct Slice {
    number: u64,
    good: u32,
    bad: u32,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Breaker {
        Breaker {
            config,
            state: State::Closed,
            slices: VecDeque::new(),
        }
    }

    /// Whether a record may be tried now; else the milliseconds after which to come back.
    ///
    /// `probe_ms` is how long the outcome of a let-through record may take; after that another may try.
    pub(crate) fn admit(&mut self, now_ms: u64, probe_ms: u64) -> Result<(), u64> {
        self.peek(now_ms, probe_ms)?;
        if self.is_open() {
            self.state = State::Probing { since_ms: now_ms };
        }
        Ok(())
    }

    /// As [`Breaker::admit`], without letting anything through.
    pub(crate) fn peek(&self, now_ms: u64, probe_ms: u64) -> Result<(), u64> {
        match self.state {
            State::Open { until_ms } if now_ms < until_ms => Err(until_ms - now_ms),
            State::Probing { since_ms } if now_ms < since_ms.saturating_add(probe_ms) => {
                Err(millis(self.config.pause))
            }
            State::Closed | State::Open { .. } | State::Probing { .. } => Ok(()),
        }
    }

    /// Takes in what became of a record: did the log answer for it?
    pub(crate) fn record(&mut self, good: bool, now_ms: u64) {
        match self.state {
            // A success while probing is the proof; one while open may be an old one on its way back.
            State::Probing { .. } if good => {
                self.state = State::Closed;
                self.slices.clear();
            }
            State::Probing { .. } => self.open(now_ms),
            State::Open { .. } => {}
            State::Closed => {
                self.count(good, now_ms);
                if !good && self.is_broken() {
                    self.open(now_ms);
                }
            }
        }
    }

    /// A record that was let through has been answered without being tried: a duplicate, or one that is not
    /// its outbox' next. Were it the probe, everybody else would wait for news that never come.
    pub(crate) fn untried(&mut self, now_ms: u64) {
        if let State::Probing { .. } = self.state {
            self.state = State::Open { until_ms: now_ms };
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    fn open(&mut self, now_ms: u64) {
        self.slices.clear();
        self.state = State::Open {
            until_ms: now_ms.saturating_add(millis(self.config.pause)),
        };
    }

    fn count(&mut self, good: bool, now_ms: u64) {
        let width = (millis(self.config.window) / SLICES).max(1);
        let number = now_ms / width;
        while self
            .slices
            .front()
            .is_some_and(|slice| slice.number + SLICES <= number)
        {
            self.slices.pop_front();
        }
        if self
            .slices
            .back()
            .is_none_or(|slice| slice.number != number)
        {
            self.slices.push_back(Slice {
                number,
                good: 0,
                bad: 0,
            });
        }
        if let Some(slice) = self.slices.back_mut() {
            let counter = if good {
                &mut slice.good
            } else {
                &mut slice.bad
            };
            *counter = counter.saturating_add(1);
        }
    }

    fn is_broken(&self) -> bool {
        let (good, bad) = self.slices.iter().fold((0u64, 0u64), |(good, bad), slice| {
            (good + u64::from(slice.good), bad + u64::from(slice.bad))
        });
        let all = good + bad;
        all >= u64::from(self.config.outcomes_min)
            && bad * 100 >= all * u64::from(self.config.errors_percent)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROBE_MS: u64 = 5_000;

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig::default())
    }

    fn broken_at(now_ms: u64) -> Breaker {
        let mut breaker = breaker();
        for _ in 0..5 {
            breaker.record(false, now_ms);
        }
        breaker
    }

    #[test]
    fn it_opens_at_half_errors_and_not_before() {
        let mut breaker = breaker();
        for _ in 0..6 {
            breaker.record(true, 0);
        }
        for _ in 0..5 {
            breaker.record(false, 0);
            assert_eq!(breaker.admit(0, PROBE_MS), Ok(()));
        }
        breaker.record(false, 0);
        assert_eq!(breaker.admit(0, PROBE_MS), Err(1_000));
    }

    #[test]
    fn a_few_outcomes_prove_nothing() {
        let mut breaker = breaker();
        for _ in 0..4 {
            breaker.record(false, 0);
        }
        assert_eq!(breaker.admit(0, PROBE_MS), Ok(()));
    }

    #[test]
    fn old_errors_are_forgotten() {
        let mut breaker = breaker();
        for _ in 0..4 {
            breaker.record(false, 0);
        }
        breaker.record(false, 20_000);
        assert_eq!(breaker.admit(20_000, PROBE_MS), Ok(()));
    }

    #[test]
    fn after_the_pause_one_record_is_tried_and_its_outcome_decides() {
        let mut breaker = broken_at(0);
        assert_eq!(breaker.admit(999, PROBE_MS), Err(1));
        assert_eq!(breaker.admit(1_000, PROBE_MS), Ok(()));
        assert_eq!(breaker.admit(1_001, PROBE_MS), Err(1_000), "one at a time");
        breaker.record(false, 1_500);
        assert_eq!(breaker.admit(2_000, PROBE_MS), Err(500));
        assert_eq!(breaker.admit(2_500, PROBE_MS), Ok(()));
        breaker.record(true, 2_600);
        assert_eq!(breaker.admit(2_600, PROBE_MS), Ok(()));
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_probe_that_was_not_tried_lets_the_next_one_try() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        breaker.open(0);
        let later = millis(BreakerConfig::default().pause);
        assert!(breaker.admit(later, 60_000).is_ok());
        assert!(breaker.admit(later, 60_000).is_err());
        breaker.untried(later);
        assert!(breaker.admit(later, 60_000).is_ok());
        breaker.record(true, later);
        breaker.untried(later);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_probe_that_is_never_heard_of_does_not_close_the_door_for_ever() {
        let mut breaker = broken_at(0);
        assert_eq!(breaker.admit(1_000, PROBE_MS), Ok(()));
        assert!(breaker.admit(5_999, PROBE_MS).is_err());
        assert_eq!(breaker.admit(6_000, PROBE_MS), Ok(()));
    }

    proptest! {
        /// Whatever happened before: when the log works again, the door is open again within a pause
        /// and a probe; and it never closes while nothing fails.
        #[test]
        fn it_always_comes_back(
            past in prop::collection::vec((any::<bool>(), 0u64..3_000, any::<bool>()), 0..100)
        ) {
            let mut breaker = breaker();
            let mut now = 0;
            let mut failed = false;
            for (good, step, asks) in past {
                now += step;
                failed |= !good;
                breaker.record(good, now);
                if asks { let _ = breaker.admit(now, PROBE_MS); }
                prop_assert!(failed || !breaker.is_open());
            }
            now += 1_000 + PROBE_MS;
            prop_assert_eq!(breaker.admit(now, PROBE_MS), Ok(()));
            breaker.record(true, now);
            prop_assert_eq!(breaker.admit(now, PROBE_MS), Ok(()));
        }
    }
}
