//! The hot pure parts, timed and counted: one list of cases for `cargo bench -p micro` (time) and
//! for `scripts/instructions.sh` (instructions, which a busy machine does not change).
//!
//! A case is what one event, message or connection costs somewhere on its way: inputs are those of
//! a session with 200 bytes of data per event, and a case panics when its work does not succeed, so
//! that nobody counts an error path.
#![warn(missing_docs)]

mod cases;
mod sample;

pub use cases::CASES;

/// One hot part.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, in figures and on the command line.
    pub name: &'static str,
    /// Prepares whatever the part needs and gives the part: each call is one iteration.
    pub prepare: fn() -> Part,
}

/// One iteration of a part. Panics when the part fails at its work.
pub type Part = Box<dyn FnMut()>;

#[cfg(test)]
mod tests {
    use super::CASES;

    #[test]
    fn every_case_succeeds_at_its_work_again_and_again() {
        for case in CASES {
            let mut part = (case.prepare)();
            for _ in 0..2_000 {
                part();
            }
        }
    }

    #[test]
    fn names_are_words_and_no_two_are_alike() {
        for (i, case) in CASES.iter().enumerate() {
            assert!(!case.name.contains(char::is_whitespace), "{}", case.name);
            assert!(CASES[..i].iter().all(|other| other.name != case.name));
        }
    }
}
