//! The five topics of one prefix, and which channel lives in which.

use crate::{Channel, Lane, NameError};

/// Topic names of one deployment, `<prefix>.events` and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    events: String,
    signals: String,
    jobs: String,
    state: String,
    deadletter: String,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics::new("rivermouth")
    }
}

impl Topics {
    /// Topics under a prefix; `rivermouth` unless configured otherwise.
    pub fn new(prefix: &str) -> Topics {
        Topics {
            events: format!("{prefix}.events"),
            signals: format!("{prefix}.signals"),
            jobs: format!("{prefix}.jobs"),
            state: format!("{prefix}.state"),
            deadletter: format!("{prefix}.deadletter"),
        }
    }

    /// Durable events of every namespace but `jobs`.
    pub fn events(&self) -> &str {
        &self.events
    }

    /// The ephemeral lane of every namespace.
    pub fn signals(&self) -> &str {
        &self.signals
    }

    /// Durable events of the namespace `jobs`.
    pub fn jobs(&self) -> &str {
        &self.jobs
    }

    /// Our own compacted state; carries no events.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// What could not be read; carries no events.
    pub fn deadletter(&self) -> &str {
        &self.deadletter
    }

    /// The one topic in which a channel's events of this lane are written.
    pub fn of(&self, channel: &Channel, lane: Lane) -> &str {
        match lane {
            Lane::Ephemeral => &self.signals,
            Lane::Durable if channel.namespace() == "jobs" => &self.jobs,
            Lane::Durable => &self.events,
        }
    }

    /// The channel of a record that names none. Errors: [`NameError::Channel`] when the key is no
    /// channel id, [`NameError::Topic`] when the topic carries no events.
    pub fn default_channel(&self, topic: &str, key: &str) -> Result<Channel, NameError> {
        if topic == self.events || topic == self.signals {
            Channel::of("session", key)
        } else if topic == self.jobs {
            Channel::of("jobs", key)
        } else {
            Err(NameError::Topic)
        }
    }

    /// The lane of a topic's records.
    pub fn lane(&self, topic: &str) -> Lane {
        if topic == self.signals {
            Lane::Ephemeral
        } else {
            Lane::Durable
        }
    }

    /// The topics of the durable lane.
    pub fn durable(&self) -> [&str; 2] {
        [&self.events, &self.jobs]
    }
}
