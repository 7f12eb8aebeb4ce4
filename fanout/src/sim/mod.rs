//! A world around the pure parts of reading: log, store, rings, plan, sweeps of the log, subscriptions with windows and
//! full queues, retention and eviction, on several nodes.
//!
//! Shows for any order of steps: what a subscriber gets, over all its connections and nodes, is exactly the accepted
//! events of its channel, byte for byte, in order, once; and what it does not get was told as a gap, and is gone.

mod log;
mod node;
mod shrink;
mod store;
mod subscriber;
mod world;

use std::time::Instant;

use self::world::{Op, World};

/// What the simulation has to get done.
const STEPS: usize = 2_000_000;
const STEPS_OF_A_WORLD: usize = 2_000;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Plays the steps in a fresh world and lets it come to rest; what went wrong, or what was done.
fn play(framer: &crate::event::Framer, ops: &[Op]) -> Result<world::Done, String> {
    let mut world = World::new(framer);
    for op in ops {
        world.step(*op)?;
    }
    world.settle()
}

#[test]
fn f46_whatever_happens_each_subscriber_gets_its_channel_once_in_order_or_is_told_what_is_gone() {
    let seed = std::env::var("RIVERMOUTH_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(4_u64);
    let framer = world::framer();
    let began = Instant::now();
    let mut random = Random(seed);
    let mut steps = 0;
    let mut all = world::Done::default();
    while steps < STEPS {
        let ops: Vec<Op> = (0..STEPS_OF_A_WORLD)
            .map(|_| Op::random(&mut random))
            .collect();
        match play(&framer, &ops) {
            Ok(done) => all += done,
            Err(wrong) => {
                let (few, wrong) = shrink::smallest(ops, wrong, |ops| play(&framer, ops).err());
                panic!(
                    "RIVERMOUTH_TEST_SEED={seed}: {wrong}\nafter {} steps: {few:?}",
                    few.len()
                );
            }
        }
        steps += STEPS_OF_A_WORLD;
    }
    println!(
        "{steps} steps in {:?}, seed {seed}: {all:?}",
        began.elapsed()
    );
    assert!(steps >= STEPS);
    // Nothing of all this went on beside the point; who reconnects subscribes in the middle of a burst.
    assert!(all.reconnects >= 10_000, "{all:?}");
    assert!(all.delivered > STEPS / 20, "{all:?}");
    for (what, count) in [
        ("gaps", all.gaps),
        ("lagging", all.lagged),
        ("paused", all.paused),
        ("pages", all.pages),
        ("sweeps", all.sweeps),
        ("reconnects", all.reconnects),
        ("void", all.void),
    ] {
        assert!(count > STEPS / 2_000, "{what}: {count} in {all:?}");
    }
}
