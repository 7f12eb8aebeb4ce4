//! Which tier answers for a position that the ring no longer holds (D7, D8). Pure.

use broker::Watermarks;

/// What is known of a partition when a reader comes back.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// `None`: no store, or it does not answer.
    pub(crate) stored: Option<Stored>,
    /// What the log still has.
    pub(crate) log: Watermarks,
}

/// The range for which the store has every accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) floor: i64,
    pub(crate) next: i64,
    /// Ranges in it that were erased before they were stored, ascending.
    pub(crate) lost: Vec<(i64, i64)>,
}

impl Stored {
    /// How far the rows from `next` on reach without a loss; the end of the loss that `next` lies in otherwise.
    fn reach(&self, next: i64) -> Result<i64, i64> {
        let after = self.lost.partition_point(|(_, to)| *to <= next);
        match self.lost.get(after) {
            Some((from, to)) if *from <= next => Err((*to).min(self.next)),
            Some((from, _)) => Ok((*from).min(self.next)),
            None => Ok(self.next),
        }
    }
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
}

/// The source for the events at offsets `next` and later.
pub(crate) fn source(next: i64, extent: &Extent) -> Source {
    let (stored, log_low) = (extent.stored.as_ref(), extent.log.low);
    if let Some(stored) = stored
        && (stored.floor..stored.next).contains(&next)
    {
        return match stored.reach(next) {
            Ok(until) => Source::Store { until },
            Err(to) => Source::Gap { to },
        };
    }
    if next >= log_low {
        return match stored {
            Some(stored) if stored.next <= next => Source::Log {
                judge_from: stored.next.max(log_low),
                checkpoint: true,
            },
            // The log has it, but which of it counts only the erased rows said.
            Some(stored) if log_low > 0 => Source::Gap { to: stored.floor },
            _ => Source::Log {
                judge_from: log_low,
                checkpoint: false,
            },
        };
    }
    let to = match stored {
        Some(stored) if stored.floor > next && stored.floor < stored.next => {
            stored.floor.min(log_low)
        }
        _ => log_low,
    };
    Source::Gap { to }
}

/// The first offset from which anything can still be had. What is gone after it is told on the way.
pub(crate) fn earliest(extent: &Extent) -> i64 {
    match &extent.stored {
        // From the log's very beginning everything can be judged, whatever the store has let go of.
        Some(Stored { floor, next, .. })
            if extent.log.low > 0 && (*next >= extent.log.low || floor < next) =>
        {
            *floor
        }
        _ => extent.log.low,
    }
}

/// What of `[from, to)` nothing holds any more, ascending.
pub(crate) fn gone((mut from, to): (i64, i64), extent: &Extent) -> Vec<(i64, i64)> {
    let mut gone: Vec<(i64, i64)> = Vec::new();
    while from < to {
        from = match source(from, extent) {
            Source::Store { until } => until,
            Source::Log { .. } => break,
            Source::Gap { to: end } => {
                match gone.last_mut() {
                    Some(last) if last.1 == from => last.1 = end.min(to),
                    _ => gone.push((from, end.min(to))),
                }
                end
            }
        };
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(stored: Option<(i64, i64)>, log_low: i64) -> Extent {
        Extent {
            stored: stored.map(|(floor, next)| Stored {
                floor,
                next,
                lost: Vec::new(),
            }),
            log: Watermarks {
                low: log_low,
                high: i64::MAX,
            },
        }
    }

    fn lossy(stored: (i64, i64), lost: &[(i64, i64)], log_low: i64) -> Extent {
        let mut extent = extent(Some(stored), log_low);
        if let Some(stored) = &mut extent.stored {
            stored.lost = lost.to_vec();
        }
        extent
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
    fn rows_before_and_after_a_loss_are_read_and_the_loss_is_a_gap() {
        let extent = lossy((2, 20), &[(5, 8), (12, 13)], 13);
        assert_eq!(source(2, &extent), Source::Store { until: 5 });
        assert_eq!(source(5, &extent), Source::Gap { to: 8 });
        assert_eq!(source(7, &extent), Source::Gap { to: 8 });
        assert_eq!(source(8, &extent), Source::Store { until: 12 });
        assert_eq!(source(13, &extent), Source::Store { until: 20 });
        assert_eq!(earliest(&extent), 2);
        assert_eq!(gone((0, 30), &extent), [(0, 2), (5, 8), (12, 13)]);
        assert_eq!(gone((6, 12), &extent), [(6, 8)]);
    }

    #[test]
    fn what_was_lost_and_not_yet_recorded_is_a_gap_behind_the_rows() {
        let extent = extent(Some((2, 10)), 14);
        assert_eq!(earliest(&extent), 2);
        assert_eq!(gone((2, 30), &extent), [(10, 14)]);
        let from_the_checkpoint = Source::Log {
            judge_from: 14,
            checkpoint: true,
        };
        assert_eq!(source(14, &extent), from_the_checkpoint);
    }

    #[test]
    fn going_on_from_a_gap_always_makes_progress() {
        for floor in 0..6 {
            for end in floor..8 {
                for low in 0..10 {
                    for next in 0..10 {
                        let lost = [(1, 2), (4, 5)].map(|(from, to)| (from.min(end), to.min(end)));
                        let lost: Vec<_> = lost.into_iter().filter(|l| l.0 < l.1).collect();
                        let extent = lossy((floor, end), &lost, low);
                        match source(next, &extent) {
                            Source::Gap { to } => assert!(to > next),
                            Source::Store { until } => assert!(until > next),
                            Source::Log { judge_from, .. } => assert!(judge_from <= next.max(low)),
                        }
                        let earliest = earliest(&extent);
                        let lost = lost.iter().any(|l| (l.0..l.1).contains(&earliest));
                        let gap = matches!(source(earliest, &extent), Source::Gap { .. });
                        assert!(lost || !gap);
                    }
                }
            }
        }
    }
}
