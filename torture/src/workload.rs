//! Which channels there are and what is said in them. Pure: everything random comes from the caller.

use testbed::Random;

/// The event that ends a channel: a reader that has seen it has everything.
pub const END: &str = "torture.end";

/// The names that events have, besides [`END`] and `job.update`.
pub const EVENTS: [&str; 4] = ["step", "draw", "map.updated", "note.edited"];

/// The channels of a run, by how much goes on in them.
#[derive(Debug, Clone)]
pub struct Channels {
    /// A quarter of all events each.
    pub hot: Vec<String>,
    /// Most of the others.
    pub busy: Vec<String>,
    /// An event every few seconds, so that they lie far apart in a busy partition.
    pub quiet: Vec<String>,
    /// Events of some kilobytes.
    pub fat: Vec<String>,
    /// Jobs that live as long as the run.
    pub jobs: Vec<String>,
    /// Where the probes are; one per gateway.
    pub probes: Vec<String>,
    /// Where the hostile are, with an honest outbox among them.
    pub hostile: Vec<String>,
}

impl Channels {
    /// The usual ones.
    pub fn usual(probes: usize) -> Channels {
        let many = |kind: &str, count: usize| -> Vec<String> {
            (0..count)
                .map(|at| format!("session.{kind}-{at}"))
                .collect()
        };
        let mut busy = many("busy", 28);
        busy.extend((0..4).map(|at| format!("docs.busy-{at}")));
        Channels {
            hot: many("hot", 2),
            busy,
            quiet: many("quiet", 8),
            fat: many("fat", 1),
            jobs: (0..8).map(|at| format!("jobs.long-{at}")).collect(),
            probes: many("probe", probes),
            hostile: many("hostile", 2),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.hot
            .iter()
            .chain(&self.busy)
            .chain(&self.quiet)
            .chain(&self.fat)
            .chain(&self.jobs)
            .chain(&self.probes)
            .chain(&self.hostile)
    }
}

/// A payload that no other event has: `n` is the publisher's count. Now and then with blanks, which the door
/// takes out, and with spellings of numbers that nobody may change.
pub fn payload(random: &mut Random, who: &str, n: u64, bytes: usize) -> String {
    let pad = "x".repeat(bytes);
    match random.below(8) {
        0 => format!(r#"{{ "from": "{who}", "n": {n}, "x": 1.50, "pad": "{pad}" }}"#),
        1 => format!(r#"{{"n":{n},"from":"{who}","e":1E2,"t":"a b \"ü\u00e9","pad":"{pad}"}}"#),
        _ => format!(r#"{{"from":"{who}","n":{n},"pad":"{pad}"}}"#),
    }
}

/// Any of a list that is not empty.
pub fn any<'a, T>(random: &mut Random, of: &'a [T]) -> &'a T {
    &of[index(random, of.len())]
}

/// Below `length`, which is not zero.
pub fn index(random: &mut Random, length: usize) -> usize {
    let below = random.below(length as u64);
    usize::try_from(below).expect("below a length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_and_differ() {
        let mut random = Random::of(7);
        let mut seen = std::collections::HashSet::new();
        for n in 0..200 {
            let text = payload(&mut random, "a", n, 3);
            assert!(
                serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                "{text}"
            );
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn no_two_channels_have_one_name() {
        let channels = Channels::usual(2);
        let names: std::collections::BTreeSet<_> = channels.all().collect();
        assert_eq!(names.len(), channels.all().count());
    }
}
