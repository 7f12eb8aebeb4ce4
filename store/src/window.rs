//! Windows: which days to open next, so that no event is missed though the days' ranges of offsets overlap. Pure.

use crate::HistoryFilter;

/// A day, and the offsets of its events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// Events with these offsets have these times; both ranges exclude their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) offsets: (i64, i64),
    pub(crate) times: (i64, i64),
}

impl Window {
    /// The next window of `size` days in the filter's direction; `None` when no day has what is left.
    ///
    /// A clock that steps back over midnight makes the offsets of two days overlap. So the window ends where the first
    /// day that is left out begins: every event before that lies in a day of the window.
    pub(crate) fn of(days: &[Day], size: usize, filter: &HistoryFilter) -> Option<Window> {
        let (lo, hi) = (filter.lo, filter.hi);
        if lo >= hi {
            return None;
        }
        let mut days: Vec<&Day> = days
            .iter()
            .filter(|day| day.last >= lo && day.first < hi)
            .collect();
        if filter.desc {
            days.sort_unstable_by_key(|day| std::cmp::Reverse(day.last));
        } else {
            days.sort_unstable_by_key(|day| day.first);
        }
        // Days that reach over the window's beginning are all needed, or it would have no room.
        let over = days.iter().filter(|day| {
            if filter.desc {
                day.last + 1 >= hi
            } else {
                day.first <= lo
            }
        });
        let (opened, left) = days.split_at(size.max(over.count()).min(days.len()));
        let from = opened.iter().map(|day| day.from_ms).min()?;
        let to = opened.iter().map(|day| day.to_ms).max()?;
        let offsets = match left.first() {
            None => (lo, hi),
            Some(day) if filter.desc => (day.last + 1, hi),
            Some(day) => (lo, day.first),
        };
        Some(Window {
            offsets,
            times: (from, to),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as `(offset, day)`; the days as the store would have them.
    fn days(events: &[(i64, i64)]) -> Vec<Day> {
        let mut days: Vec<Day> = Vec::new();
        for (offset, day) in events {
            match days.iter_mut().find(|one| one.from_ms == *day) {
                Some(one) => one.last = *offset,
                None => days.push(Day {
                    from_ms: *day,
                    to_ms: *day + 1,
                    first: *offset,
                    last: *offset,
                }),
            }
        }
        days
    }

    fn walk(events: &[(i64, i64)], (lo, hi): (i64, i64), desc: bool) -> Vec<i64> {
        let days = days(events);
        let mut filter = HistoryFilter {
            desc,
            ..HistoryFilter::between(lo, hi)
        };
        let (mut found, mut size) = (Vec::new(), 1);
        while let Some(window) = Window::of(&days, size, &filter) {
            assert!(
                lo <= window.offsets.0
                    && window.offsets.0 < window.offsets.1
                    && window.offsets.1 <= hi
            );
            let inside = |event: &&(i64, i64)| {
                (window.offsets.0..window.offsets.1).contains(&event.0)
                    && (window.times.0..window.times.1).contains(&event.1)
            };
            let mut page: Vec<i64> = events.iter().filter(inside).map(|event| event.0).collect();
            if desc {
                page.reverse();
                filter.hi = window.offsets.0;
            } else {
                filter.lo = window.offsets.1;
            }
            found.extend(page);
            size *= 2;
        }
        found
    }

    #[test]
    fn windows_miss_nothing_and_keep_the_order_whatever_the_clock_did() {
        // Days wander to and fro; a simple generator is enough to overlap them in every way.
        for seed in 0..500_i64 {
            let mut state = seed;
            let mut day = 10;
            let events: Vec<(i64, i64)> = (0..40)
                .map(|offset| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    day += (state >> 33).rem_euclid(5) - 1;
                    (offset, day)
                })
                .collect();
            for (lo, hi) in [(0, 1000), (seed % 40, 40), (0, seed % 41), (7, 31)] {
                let forth: Vec<i64> = (lo..hi.min(40)).collect();
                let back: Vec<i64> = forth.iter().rev().copied().collect();
                assert_eq!(walk(&events, (lo, hi), false), forth, "seed {seed}");
                assert_eq!(walk(&events, (lo, hi), true), back, "seed {seed}");
            }
        }
    }
}
