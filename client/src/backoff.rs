//! How long to wait between attempts to connect: exponential, with full jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Delays between attempts. Pure but for its random numbers.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    /// Delays are drawn evenly from nothing to `first`, then to twice that, and so on, to at most `most`.
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff {
            first,
            most,
            attempt: 0,
        }
    }

    /// The next delay. Full jitter: a herd that lost its server together comes back spread out.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(fraction())
    }

    /// To be called once a connection has proved itself.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// How many delays were drawn since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    fn ceiling(&self) -> Duration {
        self.first
            .saturating_mul(1u32.checked_shl(self.attempt.min(31)).unwrap_or(u32::MAX))
            .min(self.most)
    }
}

/// An even random number in `[0, 1)`. The hasher's keys are random per process and differ per call, which
/// is all that jitter needs.
pub(crate) fn fraction() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    // 53 bits are exact in an f64.
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_ceiling_and_no_further() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let ceilings: Vec<u128> = (0..40)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.next_delay() <= ceiling);
                ceiling.as_millis()
            })
            .collect();
        assert_eq!(
            ceilings[..8],
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
        assert_eq!(ceilings[39], 30_000);
        backoff.reset();
        assert_eq!(backoff.ceiling().as_millis(), 500);
    }

    #[test]
    fn fractions_differ_and_stay_below_one() {
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|f| (0.0..1.0).contains(f)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
