//! Which tier answers for a position that the ring no longer holds (D7, D8). Pure.

/// What is known of a partition, and of one channel in it, when a reader comes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// The store's rows are complete in `[floor, next)`; `None`: no store, or it does not answer.
    pub(crate) stored: Option<Stored>,
    /// The log's first offset that still exists.
    pub(crate) log_low: i64,
    /// The offset of the channel's last event that the store knows of.
    pub(crate) last: Option<i64>,
}

/// The range for which the store has every accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) floor: i64,
    pub(crate) next: i64,
}

/// Where to read on from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Rows of the store with offsets below `until`.
    Store { until: i64 },
    /// The log. Judging begins at `judge_from`, with the store's checkpoint where there is one as of that offset.
    Log { judge_from: i64, checkpoint: bool },
    /// Nothing holds `[next, to)` any more; go on from `to`.
    Gap { to: i64 },
    /// Nothing holds `[next, to)`, and the channel had no event there that anybody knows of.
    Skip { to: i64 },
}

/// The source for the events at offsets `next` and later.
pub(crate) fn source(next: i64, extent: &Extent) -> Source {
    let Extent {
        stored,
        log_low,
        last,
    } = *extent;
    if let Some(Stored { floor, next: end }) = stored
        && (floor..end).contains(&next)
    {
        return Source::Store { until: end };
    }
    if next >= log_low {
        return match stored {
            Some(Stored { next: end, .. }) if end <= next => Source::Log {
                judge_from: end.max(log_low),
                checkpoint: true,
            },
            // The log has it, but which of it counts only the erased rows said.
            Some(Stored { floor, .. }) if log_low > 0 => Source::Gap { to: floor },
            _ => Source::Log {
                judge_from: log_low,
                checkpoint: false,
            },
        };
    }
    let to = match stored {
        Some(Stored { floor, next: end }) if floor > next && floor < end => floor.min(log_low),
        _ => log_low,
    };
    match (stored, last) {
        // The store is complete from before `next` to its end, and the log goes on from there: nothing was between.
        (Some(Stored { floor, next: end }), Some(last))
            if floor <= next && last < next && end >= to =>
        {
            Source::Skip { to }
        }
        _ => Source::Gap { to },
    }
}

/// The first offset from which everything can still be had.
pub(crate) fn earliest(extent: &Extent) -> i64 {
    match extent.stored {
        // From the log's very beginning everything can be judged, whatever the store has let go of.
        Some(Stored { floor, next }) if next >= extent.log_low && extent.log_low > 0 => floor,
        _ => extent.log_low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(stored: Option<(i64, i64)>, log_low: i64) -> Extent {
        Extent {
            stored: stored.map(|(floor, next)| Stored { floor, next }),
            log_low,
            last: None,
        }
    }

    #[test]
    fn what_the_store_holds_is_read_from_the_store() {
        assert_eq!(
            source(5, &extent(Some((0, 10)), 0)),
            Source::Store { until: 10 }
        );
        assert_eq!(
            source(5, &extent(Some((5, 10)), 8)),
            Source::Store { until: 10 }
        );
    }

    #[test]
    fn what_is_not_yet_stored_is_read_from_the_log_with_the_checkpoint() {
        let source = source(12, &extent(Some((0, 10)), 3));
        assert_eq!(
            source,
            Source::Log {
                judge_from: 10,
                checkpoint: true
            }
        );
    }

    #[test]
    fn what_the_log_holds_and_nobody_can_judge_is_gone() {
        assert_eq!(source(5, &extent(Some((8, 10)), 3)), Source::Gap { to: 8 });
        assert_eq!(earliest(&extent(Some((8, 10)), 3)), 8);
        let from_the_beginning = Source::Log {
            judge_from: 0,
            checkpoint: false,
        };
        assert_eq!(source(5, &extent(Some((8, 10)), 0)), from_the_beginning);
        assert_eq!(earliest(&extent(Some((8, 10)), 0)), 0);
    }

    #[test]
    fn without_a_store_the_log_is_judged_from_its_beginning() {
        let source = source(12, &extent(None, 3));
        assert_eq!(
            source,
            Source::Log {
                judge_from: 3,
                checkpoint: false
            }
        );
    }

    #[test]
    fn an_erased_range_is_a_gap_up_to_what_is_left() {
        assert_eq!(source(1, &extent(None, 3)), Source::Gap { to: 3 });
        assert_eq!(source(1, &extent(Some((6, 10)), 8)), Source::Gap { to: 6 });
        assert_eq!(source(1, &extent(Some((6, 10)), 4)), Source::Gap { to: 4 });
    }

    #[test]
    fn going_on_from_a_gap_always_makes_progress() {
        for floor in 0..6 {
            for end in floor..8 {
                for low in 0..10 {
                    for next in 0..10 {
                        let extent = extent(Some((floor, end)), low);
                        match source(next, &extent) {
                            Source::Gap { to } | Source::Skip { to } => assert!(to > next),
                            Source::Store { until } => assert!(until > next),
                            Source::Log { judge_from, .. } => assert!(judge_from <= next.max(low)),
                        }
                        assert!(!matches!(
                            source(earliest(&extent), &extent),
                            Source::Gap { .. }
                        ));
                    }
                }
            }
        }
    }
}
