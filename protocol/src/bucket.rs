//! A token bucket that forgets nothing: the level is a whole number of token fractions, so that
//! however often it is asked, a caller gets the rate it was promised.
//!
//! The usual mistake is to round the refill down and then move the clock: a caller that comes more
//! often than one token is earned never earns one. Here a millisecond earns exactly
//! `tokens` / `period_ms` of a token, always.

/// How much is allowed: `capacity` at once, and `tokens` more every `period_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Most tokens a bucket holds; also what it begins with.
    pub capacity: u32,
    /// Tokens earned in one period.
    pub tokens: u32,
    /// The period in milliseconds, at least 1.
    pub period_ms: u32,
}

impl Rate {
    /// A rate of `tokens` every `period_ms` (0 counts as 1) with room for `capacity`.
    pub const fn new(capacity: u32, tokens: u32, period_ms: u32) -> Self {
        let period_ms = if period_ms == 0 { 1 } else { period_ms };
        Rate {
            capacity,
            tokens,
            period_ms,
        }
    }

    /// `n` a minute: a bucket of `n` that earns `n` / 60 a second.
    pub const fn per_minute(n: u32) -> Self {
        Rate::new(n, n, 60_000)
    }
}

/// One caller's bucket. Plain data of 32 bytes; who keeps many of them decides when to drop a full one.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    /// Tokens × `period_ms`.
    level: u64,
    at_ms: i64,
}

impl Bucket {
    /// A full bucket at `now_ms`. Any clock serves as long as it is the same one each time; one that
    /// steps back earns nothing until it has caught up, so a monotonic one is better.
    pub fn new(rate: Rate, now_ms: i64) -> Self {
        Bucket {
            rate,
            level: full(rate),
            at_ms: now_ms,
        }
    }

    /// Takes `n` tokens, or none of them.
    ///
    /// # Errors
    /// The milliseconds after which the same call would succeed if nobody takes any meanwhile;
    /// `u64::MAX` when it never will because `n` is over the capacity or nothing is ever earned.
    pub fn take(&mut self, n: u32, now_ms: i64) -> Result<(), u64> {
        self.refill(now_ms);
        let need = u64::from(n) * u64::from(self.rate.period_ms);
        if need <= self.level {
            self.level -= need;
            return Ok(());
        }
        if n > self.rate.capacity || self.rate.tokens == 0 {
            return Err(u64::MAX);
        }
        Err((need - self.level).div_ceil(u64::from(self.rate.tokens)))
    }

    /// Gives back `n` tokens that were taken for something that did not happen.
    pub fn refund(&mut self, n: u32) {
        let back = u64::from(n) * u64::from(self.rate.period_ms);
        self.level = (self.level + back).min(full(self.rate));
    }

    /// Whether it is full again, and so may be dropped: a new one would behave the same.
    pub fn is_full(&mut self, now_ms: i64) -> bool {
        self.refill(now_ms);
        self.level == full(self.rate)
    }

    fn refill(&mut self, now_ms: i64) {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        if elapsed <= 0 {
            return;
        }
        let earned = elapsed
            .unsigned_abs()
            .saturating_mul(u64::from(self.rate.tokens));
        self.level = self.level.saturating_add(earned).min(full(self.rate));
        self.at_ms = now_ms;
    }
}

fn full(rate: Rate) -> u64 {
    u64::from(rate.capacity) * u64::from(rate.period_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PUBLISH: Rate = Rate::new(100, 10, 1_000);

    #[test]
    fn a_bucket_starts_full_and_says_when_to_come_back() {
        let mut bucket = Bucket::new(PUBLISH, 0);
        for _ in 0..100 {
            assert_eq!(bucket.take(1, 0), Ok(()));
        }
        assert_eq!(bucket.take(1, 0), Err(100));
        assert_eq!(bucket.take(1, 99), Err(1));
        assert_eq!(bucket.take(1, 100), Ok(()));
    }

    #[test]
    fn a_caller_that_comes_every_millisecond_is_not_starved() {
        let mut bucket = Bucket::new(PUBLISH, 0);
        let granted = (0..=60_000)
            .filter(|&ms| bucket.take(1, ms).is_ok())
            .count();
        assert_eq!(granted, 100 + 600);
    }

    #[test]
    fn more_than_the_capacity_never_comes() {
        let mut bucket = Bucket::new(PUBLISH, 0);
        assert_eq!(bucket.take(101, 1_000_000), Err(u64::MAX));
        assert_eq!(bucket.take(100, 1_000_000), Ok(()));
        assert_eq!(Bucket::new(Rate::new(1, 0, 0), 0).take(2, 5), Err(u64::MAX));
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing_twice() {
        let mut bucket = Bucket::new(Rate::new(10, 10, 1_000), 10_000);
        assert_eq!(bucket.take(10, 10_000), Ok(()));
        assert_eq!(bucket.take(1, 5_000), Err(100));
        assert_eq!(bucket.take(1, 10_000), Err(100));
        assert_eq!(bucket.take(1, 10_100), Ok(()));
    }

    #[test]
    fn a_refund_never_overfills() {
        let mut bucket = Bucket::new(PUBLISH, 0);
        bucket.take(3, 0).unwrap();
        assert!(!bucket.is_full(0));
        bucket.refund(50);
        assert!(bucket.is_full(0));
        assert_eq!(bucket.take(101, 0), Err(u64::MAX));
    }

    #[test]
    fn a_minute_of_chat_is_a_hundred_at_once_and_then_one_every_600_ms() {
        let mut bucket = Bucket::new(Rate::per_minute(100), 0);
        bucket.take(100, 0).unwrap();
        assert_eq!(bucket.take(1, 0), Err(600));
        assert_eq!(bucket.take(1, 600), Ok(()));
    }

    proptest! {
        /// Whatever the pattern of calls, never more than burst + rate × time; and a caller that
        /// asks at least once per token earned, and is greedy, gets all of it but the last fraction.
        #[test]
        fn every_pattern_of_calls_gets_the_rate_and_no_more(
            capacity in 1u32..200,
            tokens in 1u32..100,
            period_ms in 1u32..60_000,
            steps in prop::collection::vec(0i64..5_000, 1..200),
        ) {
            let rate = Rate::new(capacity, tokens, period_ms);
            let mut bucket = Bucket::new(rate, 0);
            let (mut now, mut granted) = (0i64, 0u64);
            let mut overflowed = false;
            for step in steps {
                let before = bucket.level;
                now += step;
                overflowed |= before + step.unsigned_abs() * u64::from(tokens) > full(rate);
                while bucket.take(1, now).is_ok() { granted += 1; }
            }
            let earned = full(rate) + now.unsigned_abs() * u64::from(tokens);
            prop_assert!(granted * u64::from(period_ms) <= earned);
            if !overflowed {
                prop_assert_eq!(granted, earned / u64::from(period_ms));
            }
        }

        /// What `take` says about waiting is exact: one millisecond less is too early.
        #[test]
        fn the_wait_it_names_is_exact(
            capacity in 1u32..200, tokens in 1u32..100, period_ms in 1u32..60_000, n in 1u32..200,
        ) {
            let rate = Rate::new(capacity, tokens, period_ms);
            let mut bucket = Bucket::new(rate, 0);
            bucket.take(capacity, 0).unwrap();
            match bucket.clone().take(n, 0) {
                Ok(()) => prop_assert!(false, "it was empty"),
                Err(u64::MAX) => prop_assert!(n > capacity),
                Err(wait) => {
                    let wait = i64::try_from(wait).unwrap();
                    prop_assert!(bucket.clone().take(n, wait - 1).is_err());
                    prop_assert!(bucket.take(n, wait).is_ok());
                }
            }
        }
    }
}
