//! What the judge says.

use std::collections::BTreeMap;

/// The judge's answer.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How often each thing was checked, by its name. A thing that could be checked and never was stands here
    /// with 0.
    pub checks: BTreeMap<&'static str, u64>,
    /// What is wrong, the worst hundred at most.
    pub violations: Vec<Violation>,
    /// How many there are.
    pub total: u64,
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
}
