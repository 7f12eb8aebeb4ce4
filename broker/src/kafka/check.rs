//! What the topics' and brokers' settings have to be, and what is wrong with those that are not. Pure.

use std::collections::HashMap;

use super::config::BATCH_BYTES_MAX;
use crate::{Code, Flaw, Needs, Retention, TopicSpec};

/// A topic as it is, with its settings.
pub(super) struct Seen {
    pub(super) partitions: u32,
    /// Of the partition that has the fewest.
    pub(super) replicas: usize,
    pub(super) config: HashMap<String, String>,
}

impl Seen {
    fn value(&self, key: &str) -> &str {
        self.config.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> i64 {
        self.value(key).parse().unwrap_or(-1)
    }
}

/// The configuration a new topic gets.
pub(super) fn settings(spec: &TopicSpec, replication: i32) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        // The log's time is the event's time, on every node the same.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("cleanup.policy", policy(spec).to_owned()),
        // A replica that missed acknowledged records never becomes the leader.
        ("unclean.leader.election.enable", "false".to_owned()),
        // With acks=all: acknowledged means on so many disks.
        (
            "min.insync.replicas",
            if replication >= 2 { "2" } else { "1" }.to_owned(),
        ),
    ];
    if replication < 2 {
        // Without a second copy, acknowledged has to mean "on this disk", not "in this page cache".
        settings.push(("flush.messages", "1".to_owned()));
    }
    if !spec.compact {
        settings.push(("retention.ms", spec.retention_ms.unwrap_or(-1).to_string()));
        settings.push((
            "retention.bytes",
            spec.retention_bytes.unwrap_or(-1).to_string(),
        ));
    }
    settings
}

fn policy(spec: &TopicSpec) -> &'static str {
    if spec.compact { "compact" } else { "delete" }
}

/// When a topic with these settings lets its oldest records go.
pub(super) fn retention(config: &HashMap<String, String>) -> Retention {
    let deletes = config
        .get("cleanup.policy")
        .is_some_and(|policy| policy.contains("delete"));
    let limit = |key: &str| {
        let limit: i64 = config.get(key)?.parse().ok()?;
        (deletes && limit >= 0).then_some(limit)
    };
    Retention {
        ms: limit("retention.ms"),
        bytes: limit("retention.bytes"),
    }
}

/// Everything about an existing topic that is not as it was asked for. Kinder settings are fine.
pub(super) fn topic(spec: &TopicSpec, seen: &Seen) -> Vec<Flaw> {
    let name = spec.name.as_str();
    let mut flaws = Vec::new();
    if seen.partitions != spec.partitions {
        flaws.push(Flaw::new(
            Code::Partitions,
            name,
            format!(
                "it has {} partitions, not {}",
                seen.partitions, spec.partitions
            ),
            format!(
                "set RIVERMOUTH_PARTITIONS={} if it always had them",
                seen.partitions
            ),
        ));
    }
    if spec.replication > 0 && seen.replicas < usize::from(spec.replication.unsigned_abs()) {
        flaws.push(Flaw::new(
            Code::Replicas,
            name,
            format!(
                "it has {} replicas, not {}",
                seen.replicas, spec.replication
            ),
            format!(
                "kafka-reassign-partitions.sh with {} replicas each",
                spec.replication
            ),
        ));
    }
    let time = seen.value("message.timestamp.type");
    if time != "LogAppendTime" {
        let what = format!("message.timestamp.type is {time}, not LogAppendTime");
        let to = "message.timestamp.type=LogAppendTime";
        flaws.push(Flaw::setting(Code::TimestampType, name, what, to));
    }
    if seen.value("unclean.leader.election.enable") != "false" {
        let what = "unclean.leader.election.enable is on: acknowledged records may be lost";
        let to = "unclean.leader.election.enable=false";
        flaws.push(Flaw::setting(Code::UncleanElection, name, what, to));
    }
    flaws.extend(cleanup(spec, seen));
    let size = seen.number("max.message.bytes");
    if (0..BATCH_BYTES_MAX).contains(&size) {
        let what =
            format!("max.message.bytes is {size}, less than our batches of {BATCH_BYTES_MAX}");
        let to = format!("max.message.bytes={}", 1 << 20);
        flaws.push(Flaw::setting(Code::MessageSize, name, what, &to));
    }
    flaws
}

/// What happens to old records.
fn cleanup(spec: &TopicSpec, seen: &Seen) -> Vec<Flaw> {
    let name = spec.name.as_str();
    let is = seen.value("cleanup.policy");
    let compact = is.contains("compact");
    if compact != spec.compact {
        let wanted = policy(spec);
        let (code, why) = if compact {
            (Code::TopicCompacted, "events would vanish one by one")
        } else {
            (Code::StateNotCompacted, "its records would grow old and go")
        };
        let what = format!("cleanup.policy is {is}, not {wanted}: {why}");
        let to = format!("cleanup.policy={wanted}");
        return vec![Flaw::setting(code, name, what, &to)];
    }
    let mut flaws = Vec::new();
    for (key, wanted) in [
        ("retention.ms", spec.retention_ms),
        ("retention.bytes", spec.retention_bytes),
    ] {
        let (is, wanted) = (seen.number(key), wanted.unwrap_or(-1));
        // Shorter than promised loses events early; longer hurts nobody's promise.
        if !compact && is >= 0 && (wanted < 0 || is < wanted) {
            let what = format!("{key} is {is}, less than {wanted}")
                .replace("less than -1", "not unlimited");
            flaws.push(Flaw::setting(
                Code::Retention,
                name,
                what,
                &format!("{key}={wanted}"),
            ));
        }
    }
    flaws
}

/// What makes a topic less safe than this cluster could keep it.
pub(super) fn safety(spec: &TopicSpec, seen: &Seen, brokers: usize, needs: &Needs) -> Vec<Flaw> {
    let name = spec.name.as_str();
    let mut flaws = Vec::new();
    let insync = seen.number("min.insync.replicas");
    if seen.replicas >= 2 && insync < 2 {
        let what = format!(
            "min.insync.replicas is {insync} with {} replicas: acknowledged may mean on one disk",
            seen.replicas
        );
        let to = "min.insync.replicas=2";
        flaws.push(Flaw::setting(Code::MinInsync, name, what, to));
    }
    if seen.replicas < 2 && brokers >= 3 {
        let what = format!("it has one replica though there are {brokers} brokers");
        let mend = "kafka-reassign-partitions.sh with 3 replicas each, then min.insync.replicas=2";
        flaws.push(Flaw::new(Code::SingleReplica, name, what, mend.to_owned()));
    }
    if seen.replicas < 2 && seen.number("flush.messages") != 1 {
        let what = "one replica that is not flushed: a power cut loses what was acknowledged";
        flaws.push(Flaw::setting(
            Code::NotFlushed,
            name,
            what,
            "flush.messages=1",
        ));
    }
    let kept = seen.number("retention.ms");
    if let Some(budget) = needs
        .outage_ms
        .filter(|_| needs.persisted.contains(&spec.name))
        && !spec.compact
        && (0..budget).contains(&kept)
    {
        let what = format!(
            "retention.ms is {kept}: a persister that is away for longer than that loses rows, and {budget} is planned for"
        );
        let to = format!("retention.ms={budget}");
        flaws.push(Flaw::setting(Code::OutageBudget, name, what, &to));
    }
    flaws
}

/// What is wrong with a broker's own settings.
pub(super) fn broker(id: i32, config: &HashMap<String, String>) -> Option<Flaw> {
    let makes = config
        .get("auto.create.topics.enable")
        .is_some_and(|value| value == "true");
    makes.then(|| {
        Flaw::new(
            Code::AutoCreate,
            "",
            format!("broker {id} makes topics that nobody configured (auto.create.topics.enable)"),
            "auto.create.topics.enable=false in server.properties of each broker, and restart them"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TopicSpec {
        TopicSpec {
            name: "t".into(),
            partitions: 3,
            replication: -1,
            retention_ms: Some(1000),
            retention_bytes: None,
            compact: false,
        }
    }

    fn as_created(spec: &TopicSpec, replication: i32) -> Seen {
        let settings = settings(spec, replication).into_iter();
        Seen {
            partitions: spec.partitions,
            replicas: usize::try_from(replication).unwrap(),
            config: settings
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }
    }

    fn needs(outage_ms: i64) -> Needs {
        Needs {
            outage_ms: Some(outage_ms),
            persisted: vec!["t".into()],
        }
    }

    fn all(spec: &TopicSpec, seen: &Seen, brokers: usize) -> Vec<Flaw> {
        let mut flaws = topic(spec, seen);
        flaws.extend(safety(spec, seen, brokers, &needs(1000)));
        flaws
    }

    #[test]
    fn what_we_create_passes_the_check() {
        for (replication, brokers) in [(1, 1), (3, 3)] {
            let seen = as_created(&spec(), replication);
            assert_eq!(all(&spec(), &seen, brokers), []);
            let state = TopicSpec {
                compact: true,
                retention_ms: None,
                ..spec()
            };
            assert_eq!(all(&state, &as_created(&state, replication), brokers), []);
        }
    }

    #[test]
    fn every_dangerous_setting_is_named_and_mended() {
        for (key, value, code) in [
            ("message.timestamp.type", "CreateTime", Code::TimestampType),
            (
                "unclean.leader.election.enable",
                "true",
                Code::UncleanElection,
            ),
            ("min.insync.replicas", "1", Code::MinInsync),
            ("cleanup.policy", "compact", Code::TopicCompacted),
            ("cleanup.policy", "compact,delete", Code::TopicCompacted),
            ("retention.bytes", "5", Code::Retention),
            ("max.message.bytes", "70000", Code::MessageSize),
        ] {
            let mut seen = as_created(&spec(), 3);
            seen.config.insert(key.into(), value.into());
            let found = all(&spec(), &seen, 3);
            assert_eq!(found.len(), 1, "{key}: {found:?}");
            assert_eq!(found[0].code, code);
            assert!(found[0].what.contains(key), "{found:?}");
            assert!(
                found[0]
                    .mend
                    .contains(&format!("--entity-name t --add-config {key}="))
            );
        }
    }

    #[test]
    fn a_retention_below_the_promise_and_below_the_budget_is_named_twice() {
        let mut seen = as_created(&spec(), 3);
        seen.config.insert("retention.ms".into(), "999".into());
        let codes: Vec<Code> = all(&spec(), &seen, 3)
            .iter()
            .map(|flaw| flaw.code)
            .collect();
        assert_eq!(codes, [Code::Retention, Code::OutageBudget]);
        seen.config.insert("retention.ms".into(), "-1".into());
        assert_eq!(all(&spec(), &seen, 3), []);
    }

    #[test]
    fn a_single_copy_among_many_brokers_and_an_unflushed_one_are_named() {
        let mut seen = as_created(&spec(), 1);
        assert_eq!(all(&spec(), &seen, 3)[0].code, Code::SingleReplica);
        seen.config
            .insert("flush.messages".into(), i64::MAX.to_string());
        assert_eq!(all(&spec(), &seen, 1)[0].code, Code::NotFlushed);
    }

    #[test]
    fn partitions_and_the_brokers_own_habit_are_named() {
        let mut seen = as_created(&spec(), 3);
        seen.partitions = 4;
        let found = topic(&spec(), &seen);
        assert_eq!(
            (found.len(), found[0].what.as_str()),
            (1, "it has 4 partitions, not 3")
        );
        let habit =
            |on: &str| HashMap::from([("auto.create.topics.enable".to_owned(), on.to_owned())]);
        assert_eq!(broker(1, &habit("true")).unwrap().code, Code::AutoCreate);
        assert_eq!(broker(1, &habit("false")), None);
    }
}
