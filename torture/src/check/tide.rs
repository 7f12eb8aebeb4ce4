//! What could be had, and when: how far the log was erased and how far the tables had got.
//!
//! Both only ever rise, so a look now and then bounds what was so in between.

use std::collections::HashMap;

/// A reader is told of a gap a little after somebody looked what there is.
const SLACK_MS: u32 = 2_000;

/// The rise of every partition, as looks at it.
#[derive(Debug, Default, Clone)]
pub struct Tide {
    /// By topic and partition: when it was looked, and the log's first offset then.
    lows: HashMap<(u8, i32), Vec<(u32, i64)>>,
    /// By topic and partition: when it was looked, and the first offset that was not stored then.
    stored: HashMap<(u8, i32), Vec<(u32, i64)>>,
}

impl Tide {
    /// A look at the log.
    pub(crate) fn low(&mut self, partition: (u8, i32), at: u32, low: i64) {
        push(self.lows.entry(partition).or_default(), at, low);
    }

    /// A look at the tables.
    pub(crate) fn stored(&mut self, partition: (u8, i32), at: u32, next: i64) {
        push(self.stored.entry(partition).or_default(), at, next);
    }

    /// Whether an offset may have been erased from the log at this time: it was gone at the next look.
    pub(crate) fn may_be_erased(&self, partition: (u8, i32), at: u32, offset: i64) -> bool {
        let look = self.lows.get(&partition).and_then(|looks| {
            let next = looks.partition_point(|(looked, _)| *looked < at);
            looks.get(next).or(looks.last())
        });
        look.is_some_and(|(_, low)| offset < *low)
    }

    /// Whether the tables had passed an offset for certain at this time: it was so at the look some seconds before.
    pub(crate) fn was_stored(&self, partition: (u8, i32), at: u32, offset: i64) -> bool {
        let look = self.stored.get(&partition).and_then(|looks| {
            let next = looks.partition_point(|(looked, _)| looked + SLACK_MS <= at);
            looks[..next].last()
        });
        look.is_some_and(|(_, next)| offset < *next)
    }
}

/// Equal looks in a row say no more than the first and the last of them.
fn push(looks: &mut Vec<(u32, i64)>, at: u32, value: i64) {
    if let [.., (_, before), (last_at, last)] = looks.as_mut_slice()
        && *before == value
        && *last == value
    {
        *last_at = at;
        return;
    }
    looks.push((at, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_had_is_bounded_by_the_looks_around_it() {
        let mut tide = Tide::default();
        for (at, low) in [(1_000, 0), (2_000, 0), (3_000, 0), (4_000, 100)] {
            tide.low((0, 0), at, low);
        }
        tide.stored((0, 0), 1_500, 50);
        assert!(
            !tide.may_be_erased((0, 0), 2_500, 60),
            "still there at 3000"
        );
        assert!(tide.may_be_erased((0, 0), 3_500, 60), "gone by 4000");
        assert!(!tide.may_be_erased((0, 0), 3_500, 100));
        assert!(tide.was_stored((0, 0), 3_500, 49));
        assert!(!tide.was_stored((0, 0), 3_499, 49), "within the slack");
        assert!(!tide.was_stored((0, 0), 9_000, 50));
    }
}
