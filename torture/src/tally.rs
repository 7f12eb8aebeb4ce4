//! What came up in a run, counted from what was written down: so that a page shows not only that nothing was
//! wrong but also that there was something to go wrong.

use std::collections::BTreeMap;

use crate::evidence::{Evidence, Note, Reading, Told, Transport};

/// Counts by what is counted.
pub type Tally = BTreeMap<String, u64>;

/// Everything worth a line.
pub fn tally(evidence: &Evidence) -> Tally {
    let mut tally = Tally::new();
    let mut count = |what: &str, many: usize| {
        *tally.entry(what.to_owned()).or_default() += many as u64;
    };
    for book in &evidence.books {
        for sent in &book.publishes {
            match sent.told {
                Told::Acked {
                    duplicate: true, ..
                } => count("publishes told to be duplicates", 1),
                Told::Acked { .. } | Told::Stored { .. } | Told::Delivered => {
                    count("publishes acknowledged", 1);
                }
                Told::Unknown => count("publishes without a certain outcome", 1),
                Told::Refused(name) => {
                    count(
                        &format!("publishes refused: {}", evidence.names.text(name)),
                        1,
                    );
                }
            }
        }
        count("pages of history", book.pages.len());
        count("frames that fit nothing", book.strays.len());
        for reading in &book.readings {
            count(&format!("readings over {}", transport(reading)), 1);
            for noted in &reading.notes {
                if let Some(what) = told(evidence, &noted.note) {
                    count(&what, 1);
                }
            }
        }
    }
    tally
}

fn transport(reading: &Reading) -> &'static str {
    match reading.transport {
        Transport::Socket => "WebSocket",
        Transport::Sse => "server-sent events",
        Transport::Stream => "NDJSON",
        Transport::Poll => "polling",
    }
}

fn told(evidence: &Evidence, note: &Note) -> Option<String> {
    Some(match note {
        Note::Asked(_) => "sessions asked for".into(),
        Note::Started(started) if started.snapshot.is_some() => {
            "sessions begun with a snapshot".into()
        }
        Note::Started(_) => "sessions begun".into(),
        Note::Event(_) => "events received".into(),
        Note::Gap { reason, .. } => format!("gaps told: {}", evidence.names.text(*reason)),
        Note::CaughtUp(_) => "`caught_up` told".into(),
        Note::Lagging => "`lagging` told".into(),
        Note::AckSent(_) => "acknowledgements sent".into(),
        Note::AckKept(_) => "acknowledgements kept".into(),
        Note::Closed { code, reason, .. } => {
            format!(
                "sessions ended with {code} {}",
                evidence.names.text(*reason)
            )
        }
        Note::Cut => "sessions cut".into(),
    })
}
