//! What the judge says.

use std::collections::BTreeMap;

use crate::evidence::Name;

/// Violations of one kind that are told in full; the rest are counted.
const TOLD_OF_A_KIND: u64 = 5;

/// Everything that is checked, and whether a run in which it never came up proves nothing.
pub const CHECKS: [(&str, Need, &str); 26] = [
    (
        "acknowledged",
        Need::Always,
        "what was acknowledged counts in the log, at the cursor that was told",
    ),
    (
        "duplicate",
        Need::Faults,
        "an answer `duplicate` stands for an event that counts",
    ),
    (
        "refused",
        Need::Never,
        "what was refused at every attempt is no event",
    ),
    (
        "sent",
        Need::Always,
        "an event that counts was sent by somebody, with these bytes",
    ),
    (
        "placed",
        Need::Always,
        "a record lies in the partition of its key",
    ),
    ("readable", Need::Always, "only poison is unreadable"),
    (
        "counts",
        Need::Always,
        "what is delivered counts (D3), in this channel",
    ),
    (
        "entitled",
        Need::Always,
        "what is delivered is for this user and this selection",
    ),
    (
        "content",
        Need::Always,
        "a frame says what the log says, byte for byte of its data",
    ),
    (
        "bytes",
        Need::Always,
        "a frame's bytes are the same at every reader",
    ),
    (
        "cursor",
        Need::Always,
        "an event's cursor is the one in the tables, and cursors sort as the events",
    ),
    (
        "prev",
        Need::Always,
        "`prev` names the event before it that everybody may see",
    ),
    (
        "order",
        Need::Always,
        "nothing is delivered again or out of order",
    ),
    ("complete", Need::Always, "nothing is left out"),
    (
        "gap",
        Need::Never,
        "a gap that was told is one, and nothing in it could be had",
    ),
    (
        "recovered",
        Need::Faults,
        "`recovered` and `wasRecovering` are true exactly when they should be",
    ),
    (
        "own_writes",
        Need::Always,
        "a reader starts no earlier than what was acknowledged before it asked",
    ),
    (
        "resumed",
        Need::Faults,
        "a cursor that was given out is taken, on every node",
    ),
    (
        "window",
        Need::Never,
        "never more unacknowledged events than the window",
    ),
    (
        "kept",
        Need::Never,
        "kept cursors are what was acknowledged",
    ),
    ("history", Need::Never, "a page is a stretch of the events"),
    (
        "snapshot",
        Need::Never,
        "a snapshot is the fold of the events up to its cursor",
    ),
    (
        "rows",
        Need::Always,
        "the rows are the events that count, byte for byte",
    ),
    (
        "jobs",
        Need::Never,
        "the jobs are the fold of their updates",
    ),
    ("quarantine", Need::Never, "the quarantine is the poison"),
    (
        "completeness",
        Need::Always,
        "the tables say that they are complete up to the log's end",
    ),
];

/// Whether a check must have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// In every run.
    Always,
    /// In every run with faults.
    Faults,
    /// Only when the workload has what it is about.
    Never,
}

/// The judge's answer.
#[derive(Debug)]
pub struct Verdict {
    /// How often each thing was checked, by its name in [`CHECKS`]; what was never checked stands here with 0.
    pub checks: BTreeMap<&'static str, u64>,
    /// How many things are wrong, by the check that found them.
    pub violated: BTreeMap<&'static str, u64>,
    /// The first of each kind.
    pub violations: Vec<Violation>,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The check that found it.
    pub kind: &'static str,
    /// In one line: who, where, what.
    pub what: String,
    /// Everything that everybody says of the event or cursor concerned, in order of time: at most 30 lines.
    pub story: Vec<String>,
    pub(super) suspect: Suspect,
}

/// What a violation is about, for its story.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Suspect {
    pub(super) channel: Option<Name>,
    pub(super) offset: Option<i64>,
    /// Number of the book, of the reading in it, and of the note.
    pub(super) note: Option<(usize, usize, usize)>,
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict {
            checks: CHECKS.iter().map(|(name, ..)| (*name, 0)).collect(),
            violated: BTreeMap::new(),
            violations: Vec::new(),
        }
    }
}

impl Verdict {
    /// How many things are wrong.
    pub fn total(&self) -> u64 {
        self.violated.values().sum()
    }

    /// Checks that should have been made in such a run and were not: it proves less than it claims.
    pub fn unmade(&self, with_faults: bool) -> Vec<&'static str> {
        let needed = |need: Need| need == Need::Always || (need == Need::Faults && with_faults);
        let unmade = CHECKS
            .iter()
            .filter(|(name, need, _)| needed(*need) && self.checks.get(name) == Some(&0));
        unmade.map(|(name, ..)| *name).collect()
    }

    /// A check was made.
    pub(super) fn check(&mut self, kind: &'static str) {
        *self.checks.entry(kind).or_default() += 1;
    }

    /// A check was made and holds or does not.
    pub(super) fn hold(
        &mut self,
        kind: &'static str,
        holds: bool,
        suspect: Suspect,
        what: impl FnOnce() -> String,
    ) {
        self.check(kind);
        if !holds {
            self.violate(kind, suspect, what());
        }
    }

    /// Something is wrong.
    pub(super) fn violate(&mut self, kind: &'static str, suspect: Suspect, what: String) {
        let count = self.violated.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD_OF_A_KIND {
            self.violations.push(Violation {
                kind,
                what,
                story: Vec::new(),
                suspect,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_never_came_up_is_told() {
        let mut verdict = Verdict::default();
        for (name, ..) in CHECKS {
            if name != "prev" && name != "resumed" {
                verdict.check(name);
            }
        }
        assert_eq!(verdict.unmade(false), ["prev"]);
        assert_eq!(verdict.unmade(true), ["prev", "resumed"]);
    }

    #[test]
    fn many_of_a_kind_are_counted_and_a_few_are_told() {
        let mut verdict = Verdict::default();
        for _ in 0..100 {
            verdict.hold("order", false, Suspect::default(), || "again".to_owned());
        }
        assert_eq!((verdict.total(), verdict.violations.len()), (100, 5));
    }
}
