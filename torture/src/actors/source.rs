//! What a publisher has to say next.

use testbed::Random;

use crate::workload::{EVENTS, any, index, payload};

/// One event before it has an identity.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) channel: String,
    pub(super) event: &'static str,
    pub(super) data: String,
    /// For these users alone.
    pub(super) to: Option<Vec<String>>,
}

/// Where events come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Anything in any of these channels, padded to about so many bytes.
    Steps {
        channels: Vec<String>,
        bytes: usize,
        /// Users to whisper to at times.
        whisper: Vec<String>,
    },
    /// The steps of jobs: some end early and get late updates all the same.
    Jobs { channels: Vec<String> },
}

const STATUSES: [&str; 5] = ["queued", "running", "succeeded", "failed", "cancelled"];

impl Source {
    pub(super) fn next(&self, random: &mut Random, who: &str, n: u64) -> Said {
        match self {
            Source::Steps {
                channels,
                bytes,
                whisper,
            } => {
                let bytes = bytes / 2 + index(random, bytes / 2 + 1);
                let to = (!whisper.is_empty() && random.below(16) == 0)
                    .then(|| vec![any(random, whisper).clone()]);
                Said {
                    channel: any(random, channels).clone(),
                    event: EVENTS[index(random, EVENTS.len())],
                    data: payload(random, who, n, bytes),
                    to,
                }
            }
            Source::Jobs { channels } => {
                let channel = any(random, channels).clone();
                Said {
                    data: job(random, &channel, who, n),
                    channel,
                    event: "job.update",
                    to: None,
                }
            }
        }
    }
}

/// Mostly `running`; one in forty ends the job, and what comes after that must change nothing.
fn job(random: &mut Random, channel: &str, who: &str, n: u64) -> String {
    let id = channel.strip_prefix("jobs.").unwrap_or(channel);
    let status = match random.below(80) {
        0 => STATUSES[index(random, STATUSES.len())],
        1 => STATUSES[2],
        2 => STATUSES[0],
        _ => STATUSES[1],
    };
    let mut members = format!(r#""jobId":"{id}","status":"{status}","message":"{who} {n}""#);
    if random.below(2) == 0 {
        members += &format!(r#","progress":{}"#, random.below(1001) as f64 / 10.0);
    }
    if random.below(4) == 0 {
        members += &format!(
            r#","kind":"kind-{}","ownerId":"owner-{}""#,
            random.below(3),
            random.below(3)
        );
    }
    if status == "failed" {
        members += r#","error":{"code":"E1","message":"it broke"}"#;
    }
    format!("{{{members}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_jobs_is_json_of_their_own_channel() {
        let source = Source::Jobs {
            channels: vec!["jobs.a".into()],
        };
        let mut random = Random::of(1);
        for n in 0..500 {
            let said = source.next(&mut random, "w", n);
            let value: serde_json::Value = serde_json::from_str(&said.data).unwrap();
            assert_eq!(value["jobId"], "a");
        }
    }
}
