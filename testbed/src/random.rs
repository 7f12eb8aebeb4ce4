//! Random numbers that can be had again: the seed is printed when a test fails.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From `RIVERMOUTH_TEST_SEED` when it is set, else from the clock; printed, so that a failure can be repeated.
    pub fn seeded(what: &str) -> Random {
        let seed = std::env::var("RIVERMOUTH_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| crate::unix_ms().unsigned_abs());
        println!("{what}: RIVERMOUTH_TEST_SEED={seed}");
        Random(seed)
    }

    /// From a seed that is already known.
    pub fn of(seed: u64) -> Random {
        Random(seed)
    }

    /// Another, independent source for another task.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }

    /// Below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
