//! What may be wrong with a log: each finding has a stable code, a weight, a sentence, and the command that mends it.
//!
//! The codes are a contract with whoever operates it: alarms and runbooks name them. They stand here and nowhere
//! else; `docs/OPERATING.md` explains each.

use std::fmt;

/// The stable name of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The topic was deleted and made again: its offsets mean other records.
    TopicRecreated,
    /// A pinned topic is not there.
    TopicGone,
    /// The topic has another number of partitions than was pinned.
    PartitionsChanged,
    /// The topic is used, and no pin names it.
    TopicUnpinned,
    /// There is no pin record although the topics hold records.
    PinsLost,
    /// A pin record cannot be understood.
    PinsUnreadable,
    /// A topic is not there and may not be made.
    TopicMissing,
    /// The topic has another number of partitions than the settings ask for, and none is pinned.
    Partitions,
    /// The topic has fewer replicas than the settings ask for.
    Replicas,
    /// An event topic is compacted: old events vanish one by one, without a trace.
    TopicCompacted,
    /// The state topic is not compacted: retention takes pins and kept cursors.
    StateNotCompacted,
    /// A replica that missed acknowledged records may become the leader.
    UncleanElection,
    /// The log does not stamp records with its own time.
    TimestampType,
    /// The topic takes smaller messages than ours.
    MessageSize,
    /// The topic keeps records for a shorter time, or fewer of them, than the settings promise.
    Retention,
    /// Acknowledged may mean on one disk although there are several.
    MinInsync,
    /// One copy although there are brokers for more.
    SingleReplica,
    /// One copy, and acknowledged means "in the page cache".
    NotFlushed,
    /// The topic keeps records for a shorter time than the persister may be away.
    OutageBudget,
    /// Brokers make topics that nobody configured.
    AutoCreate,
    /// A partition ends before a place that was already read: acknowledged records are gone.
    LogTruncated,
    /// The log does not answer.
    LogAway,
    /// `repin`: the topic is the pinned one.
    RepinNothing,
    /// `repin`: not one of this installation's topics.
    RepinUnknown,
    /// `repin`: somebody else was first.
    RepinLost,
}

/// What a finding means for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It does not start, or stops using the topic.
    Refused,
    /// It works, and says so loudly.
    Warned,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 25] = [
        Code::TopicRecreated,
        Code::TopicGone,
        Code::PartitionsChanged,
        Code::TopicUnpinned,
        Code::PinsLost,
        Code::PinsUnreadable,
        Code::TopicMissing,
        Code::Partitions,
        Code::Replicas,
        Code::TopicCompacted,
        Code::StateNotCompacted,
        Code::UncleanElection,
        Code::TimestampType,
        Code::MessageSize,
        Code::Retention,
        Code::MinInsync,
        Code::SingleReplica,
        Code::NotFlushed,
        Code::OutageBudget,
        Code::AutoCreate,
        Code::LogTruncated,
        Code::LogAway,
        Code::RepinNothing,
        Code::RepinUnknown,
        Code::RepinLost,
    ];

    /// `TOPIC_RECREATED`; never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::TopicRecreated => "TOPIC_RECREATED",
            Code::TopicGone => "TOPIC_GONE",
            Code::PartitionsChanged => "PARTITIONS_CHANGED",
            Code::TopicUnpinned => "TOPIC_UNPINNED",
            Code::PinsLost => "PINS_LOST",
            Code::PinsUnreadable => "PINS_UNREADABLE",
            Code::TopicMissing => "TOPIC_MISSING",
            Code::Partitions => "PARTITIONS",
            Code::Replicas => "REPLICAS",
            Code::TopicCompacted => "TOPIC_COMPACTED",
            Code::StateNotCompacted => "STATE_NOT_COMPACTED",
            Code::UncleanElection => "UNCLEAN_ELECTION",
            Code::TimestampType => "TIMESTAMP_TYPE",
            Code::MessageSize => "MESSAGE_SIZE",
            Code::Retention => "RETENTION",
            Code::MinInsync => "MIN_INSYNC",
            Code::SingleReplica => "SINGLE_REPLICA",
            Code::NotFlushed => "NOT_FLUSHED",
            Code::OutageBudget => "OUTAGE_BUDGET",
            Code::AutoCreate => "AUTO_CREATE",
            Code::LogTruncated => "LOG_TRUNCATED",
            Code::LogAway => "LOG_AWAY",
            Code::RepinNothing => "REPIN_NOTHING",
            Code::RepinUnknown => "REPIN_UNKNOWN",
            Code::RepinLost => "REPIN_LOST",
        }
    }

    /// Whether a process goes on with it.
    pub fn weight(self) -> Weight {
        match self {
            Code::MinInsync
            | Code::SingleReplica
            | Code::NotFlushed
            | Code::OutageBudget
            | Code::AutoCreate => Weight::Warned,
            _ => Weight::Refused,
        }
    }
}

/// One thing that is wrong, for a person: `TOPIC_COMPACTED rivermouth.events: cleanup.policy is …; mend it: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Which kind.
    pub code: Code,
    /// The topic; empty when it is about the brokers.
    pub topic: String,
    /// A sentence without a full stop.
    pub what: String,
    /// A command, or what else to do. Commands say `$KAFKA_BOOTSTRAP` for the brokers' addresses.
    pub mend: String,
}

impl Flaw {
    /// A finding about `topic`.
    pub fn new(code: Code, topic: &str, what: impl Into<String>, mend: String) -> Flaw {
        Flaw {
            code,
            topic: topic.to_owned(),
            what: what.into(),
            mend,
        }
    }

    /// A topic that is not there.
    pub(crate) fn missing(topic: &str) -> Flaw {
        let mend = "start a service with --create-topics true".to_owned();
        Flaw::new(Code::TopicMissing, topic, "it is not there", mend)
    }

    /// A setting of a topic that `kafka-configs.sh` mends by giving it the value `to`.
    pub(crate) fn setting(code: Code, topic: &str, what: impl Into<String>, to: &str) -> Flaw {
        let mend = format!(
            "kafka-configs.sh --bootstrap-server $KAFKA_BOOTSTRAP --alter --entity-type topics \
             --entity-name {topic} --add-config {to}"
        );
        Flaw::new(code, topic, what, mend)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flaw {
            code,
            topic,
            what,
            mend,
        } = self;
        let about = if topic.is_empty() { "brokers" } else { topic };
        write!(f, "{} {about}: {what}; mend it: {mend}", code.as_str())
    }
}

/// The command that gives a topic its next generation; it makes a topic that is gone anew.
pub(crate) fn repin_command(topic: &str) -> String {
    format!("rivermouth repin --topic {topic} --yes, then start the processes again")
}

/// What to do about a pinned topic with another number of partitions: Kafka cannot take partitions away.
pub(crate) fn repartition_steps(topic: &str) -> String {
    format!(
        "let the persisters finish, stop every process, kafka-topics.sh --bootstrap-server $KAFKA_BOOTSTRAP \
         --delete --topic {topic}, {}",
        repin_command(topic)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_listed_once_and_has_a_name_of_its_own() {
        let names: HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn a_flaw_says_its_code_first_and_its_command_last() {
        let flaw = Flaw::setting(
            Code::TopicCompacted,
            "t",
            "cleanup.policy is compact",
            "cleanup.policy=delete",
        );
        let text = flaw.to_string();
        assert!(text.starts_with("TOPIC_COMPACTED t: "), "{text}");
        assert!(
            text.ends_with("--entity-name t --add-config cleanup.policy=delete"),
            "{text}"
        );
    }
}
