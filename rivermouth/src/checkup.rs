//! What is wrong around this installation: one kind of finding, whoever found it, said by log and metric.

use std::collections::BTreeSet;
use std::fmt;

use broker::{BrokerError, Code, Flaw, Log, Needs, TopicSpec, Weight};
use service::Metrics;
use store::{Store, Weakness};

use crate::parts::Ground;
use crate::settings::kafka::KafkaArgs;
use crate::topics;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Stable; explained in the operating guide.
    pub(crate) code: &'static str,
    /// A topic, `brokers` or `postgres`.
    pub(crate) about: String,
    pub(crate) what: String,
    /// The command that mends it.
    pub(crate) mend: String,
    /// Services do not start with it.
    pub(crate) refused: bool,
}

impl Finding {
    /// Of a pinned topic the pins say it, and more to the point.
    pub(crate) fn is_of_the_pins(&self) -> bool {
        [Code::Partitions.as_str(), Code::TopicMissing.as_str()].contains(&self.code)
    }
}

/// All of them as `/health` shows them: what is refused first.
pub(crate) fn told(found: &BTreeSet<Finding>) -> String {
    let mut all: Vec<&Finding> = found.iter().collect();
    all.sort_by_key(|finding| !finding.refused);
    let all: Vec<String> = all.into_iter().map(Finding::to_string).collect();
    all.join(" | ")
}

impl From<Flaw> for Finding {
    fn from(flaw: Flaw) -> Finding {
        let about = match flaw.topic.as_str() {
            "" => "brokers".to_owned(),
            topic => topic.to_owned(),
        };
        Finding {
            code: flaw.code.as_str(),
            about,
            what: flaw.what,
            mend: flaw.mend,
            refused: flaw.code.weight() == Weight::Refused,
        }
    }
}

impl From<Weakness> for Finding {
    fn from(weakness: Weakness) -> Finding {
        Finding {
            code: weakness.code(),
            about: "postgres".to_owned(),
            what: weakness.to_string(),
            mend: weakness.mend().to_owned(),
            refused: matches!(weakness, Weakness::NotMigrated { .. }),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            code,
            about,
            what,
            mend,
            ..
        } = self;
        write!(f, "{code} {about}: {what}; mend it: {mend}")
    }
}

/// Refuses tables that are not there or of an earlier version, for commands that work with them.
pub(crate) async fn migrated(store: &Store) -> anyhow::Result<()> {
    match store.not_migrated().await? {
        Some(weakness) => Err(anyhow::anyhow!("{}", Finding::from(weakness))),
        None => Ok(()),
    }
}

/// What the topics' settings have to hold out.
pub(crate) fn needs(args: &KafkaArgs, topics: &schemas::Topics) -> Needs {
    Needs {
        outage_ms: i64::try_from(args.outage_budget.as_millis()).ok(),
        persisted: topics.durable().map(str::to_owned).to_vec(),
    }
}

type Labels = [(&'static str, String); 2];

type Show = Box<dyn Fn(&Finding, bool) + Send + Sync>;

/// What is wrong at present: each thing is logged when it is found and again when it is gone, and counted meanwhile.
pub(crate) struct Findings {
    log: Log,
    specs: Vec<TopicSpec>,
    pinned: BTreeSet<String>,
    needs: Needs,
    store: Option<Store>,
    topics: BTreeSet<Finding>,
    settings: BTreeSet<Finding>,
    /// Shows a finding among the numbers, or takes it out of them.
    show: Show,
}

impl Findings {
    pub(crate) fn new(
        args: &KafkaArgs,
        ground: &Ground,
        store: Option<&Store>,
        metrics: &Metrics,
    ) -> Findings {
        let gauges = metrics.gauges(
            "findings",
            "1 for each thing that is wrong around this installation, by its code",
        );
        Findings {
            log: ground.log.clone(),
            specs: topics::as_pinned(&args.specs(&ground.topics), &ground.pins),
            pinned: ground.pins.topics.keys().cloned().collect(),
            needs: needs(args, &ground.topics),
            store: store.cloned(),
            topics: BTreeSet::new(),
            settings: BTreeSet::new(),
            show: Box::new(move |finding, wrong| {
                gauges.get_or_create(&labels(finding)).set(i64::from(wrong));
            }),
        }
    }

    /// What is wrong with the topics themselves, all of it.
    pub(crate) fn topics(&mut self, found: BTreeSet<Finding>) {
        self.say(&self.topics, &found);
        self.topics = found;
    }

    /// Looks at the settings of the log and of PostgreSQL: all that is wrong with them. `None` when the log does not
    /// answer.
    pub(crate) async fn check_settings(&mut self) -> Option<&BTreeSet<Finding>> {
        let mut found = settings(&self.log, &self.specs, &self.needs)
            .await
            .inspect_err(|error| tracing::debug!(%error, "the settings cannot be looked at"))
            .ok()?;
        found.retain(|finding| !(finding.is_of_the_pins() && self.pinned.contains(&finding.about)));
        if let Some(store) = &self.store {
            let weaknesses = store.weaknesses().await.into_iter();
            // That it is away is told by those who need it.
            let weaknesses = weaknesses.filter(|weakness| !matches!(weakness, Weakness::Away(_)));
            found.extend(weaknesses.map(Finding::from));
        }
        self.say(&self.settings, &found);
        self.settings = found;
        Some(&self.settings)
    }

    fn say(&self, before: &BTreeSet<Finding>, now: &BTreeSet<Finding>) {
        for finding in before.difference(now) {
            (self.show)(finding, false);
            tracing::info!(code = finding.code, about = %finding.about, "this is mended");
        }
        for finding in now.difference(before) {
            (self.show)(finding, true);
            let Finding {
                code,
                about,
                what,
                mend,
                refused,
            } = finding;
            if *refused {
                tracing::error!(code, %about, %what, %mend, "this must not be");
            } else {
                tracing::warn!(code, %about, %what, %mend, "this is not safe");
            }
        }
    }
}

fn labels(finding: &Finding) -> Labels {
    [
        ("code", finding.code.to_owned()),
        ("about", finding.about.clone()),
    ]
}

/// What is wrong with the log's settings.
pub(crate) async fn settings(
    log: &Log,
    specs: &[TopicSpec],
    needs: &Needs,
) -> Result<BTreeSet<Finding>, BrokerError> {
    let flaws = log.examine(specs, needs).await?;
    Ok(flaws.into_iter().map(Finding::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told_and_what_is_refused_first() {
        let finding = |code, about: &str, refused| Finding {
            code,
            about: about.to_owned(),
            what: "w".to_owned(),
            mend: "m".to_owned(),
            refused,
        };
        let found = BTreeSet::from([
            finding("AUTO_CREATE", "brokers", false),
            finding("RETENTION", "t", true),
        ]);
        assert_eq!(
            told(&found),
            "RETENTION t: w; mend it: m | AUTO_CREATE brokers: w; mend it: m"
        );
    }

    #[test]
    fn every_code_stands_in_the_operating_guide() {
        let guide = include_str!("../../docs/OPERATING.md");
        let weaknesses = [
            Weakness::Away(String::new()),
            Weakness::NotMigrated { missing: 1, all: 1 },
            Weakness::FsyncOff,
            Weakness::FullPageWritesOff,
            Weakness::SynchronousCommitOff,
        ];
        let codes = Code::ALL.iter().map(|code| code.as_str());
        for code in codes.chain(weaknesses.iter().map(Weakness::code)) {
            assert!(
                guide.contains(&format!("| `{code}` |")),
                "docs/OPERATING.md lacks {code}"
            );
        }
    }
}
