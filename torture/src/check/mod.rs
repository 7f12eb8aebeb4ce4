//! The judge: reads the log and the tables by itself and compares them with what everybody wrote down.
//!
//! [`Recorder`] follows the log from the beginning of a run, because retention and `delete_records` take from it
//! what the end could no longer ask for. [`Tables::read`] reads PostgreSQL once at the end. [`judge`] is a pure
//! function of these and of the [`Evidence`], and says how often each thing was checked and what is wrong.
//! Nothing here uses the services' code.

mod case;
mod frames;
mod jobs;
mod log;
mod pages;
mod publishing;
mod reading;
mod recorder;
mod stored;
mod story;
mod tables;
mod tide;
mod verdict;

#[cfg(test)]
mod tests;

use crate::evidence::Evidence;
use case::Case;
use frames::Frames;
use verdict::Suspect;

pub use log::{Log, POISON_HEADER};
pub use recorder::Recorder;
pub use tables::Tables;
pub use verdict::{CHECKS, Need, Verdict, Violation};

/// Everything that is checked, against everything that was written down. To be called when the world has healed,
/// the tables are complete and every reader is done.
pub fn judge(evidence: &Evidence, log: &Log, tables: &Tables) -> Verdict {
    let case = Case::new(evidence, log, tables);
    let mut verdict = Verdict::default();
    publishing::check(&case, &mut verdict);
    stored::check(&case, &mut verdict);
    let mut frames = Frames::default();
    for (number, book) in evidence.books.iter().enumerate() {
        for (reading_number, reading) in book.readings.iter().enumerate() {
            let judge = reading::Judge {
                case: &case,
                frames: &mut frames,
                verdict: &mut verdict,
                actor: &book.actor,
                reading,
                number: (number, reading_number),
            };
            judge.run();
        }
        for stray in &book.strays {
            verdict.violate(
                "entitled",
                Suspect::default(),
                format!("{}: {}: {}", book.actor, stray.why, stray.frame),
            );
        }
    }
    pages::check(&case, &mut frames, &mut verdict);
    jobs::check(&case, &mut verdict);
    story::tell(&case, &mut verdict);
    verdict
}
