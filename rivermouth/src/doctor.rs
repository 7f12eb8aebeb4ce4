//! `rivermouth doctor`: everything that a service looks at when it starts, without starting one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::bail;
use broker::{Code, Flaw, Log, PinError, PinWatch};
use clap::Args;
use schemas::Topics;
use service::telemetry::{self, LogFormat};

use crate::checkup::{self, Finding};
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;
use crate::{parts, topics};

/// Letting go of the log takes no longer.
const CLOSE: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  KAFKA_BOOTSTRAP=kafka:9092 DATABASE_URL=postgres://rm@db/rm rivermouth doctor

One line for each topic, for the brokers and for PostgreSQL (when DATABASE_URL is set): `ok`, or `warn` or `refused`
with a code and the command that mends it, or `unknown` where Kafka did not say. Services do not start with what is
refused. It changes nothing.

Exit status: 0 nothing is refused, 1 something is (with --strict: or warned of), 64 bad settings.")]
pub(crate) struct DoctorArgs {
    /// Warnings count too
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// What was looked at, and what was found there; `None` where nobody could look.
type Lines = BTreeMap<String, Option<Vec<Finding>>>;

pub(crate) async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let kafka = args.kafka.required("rivermouth-doctor")?;
    let names = args.kafka.topics()?;
    let url = args.postgres.url()?;
    telemetry::init("error", LogFormat::Auto)?;
    let log = parts::kafka(kafka).await?;
    let mut lines = of_the_log(&args.kafka, &log, &names).await;
    // Nothing is in flight: nothing was appended.
    let _ = log.close(CLOSE).await;
    if let Some(url) = url {
        let store = parts::store(&url, args.postgres.options("doctor")).await?;
        let weaknesses = store.weaknesses().await.into_iter();
        lines.insert(
            "postgres".to_owned(),
            Some(weaknesses.map(Finding::from).collect()),
        );
        store.close().await;
    }
    let (mut refused, mut warned) = (0, 0);
    for (about, findings) in &lines {
        match findings.as_deref() {
            None => println!("unknown  {about}"),
            Some([]) => println!("ok       {about}"),
            Some(_) => {}
        }
        for finding in findings.iter().flatten() {
            let weight = if finding.refused { "refused" } else { "warn" };
            println!("{weight:<8} {finding}");
            *(if finding.refused {
                &mut refused
            } else {
                &mut warned
            }) += 1;
        }
    }
    if refused > 0 || args.strict && warned > 0 {
        bail!("{refused} refused, {warned} to be warned of");
    }
    Ok(())
}

async fn of_the_log(args: &KafkaArgs, log: &Log, names: &Topics) -> Lines {
    let (found, away) = found(args, log, names).await;
    let specs = args.specs(names);
    let topics = specs.iter().map(|spec| spec.name.clone());
    let mut lines: Lines = topics
        .chain(["brokers".to_owned()])
        .map(|about| (about, away.is_none().then(Vec::new)))
        .collect();
    for finding in found.into_iter().chain(away) {
        let line = lines.entry(finding.about.clone()).or_default();
        line.get_or_insert_default().push(finding);
    }
    lines
}

/// What is wrong, and that Kafka did not answer everything, if it is so.
async fn found(
    args: &KafkaArgs,
    log: &Log,
    names: &Topics,
) -> (BTreeSet<Finding>, Option<Finding>) {
    let away = |error: &dyn fmt::Display| {
        let mend = "start Kafka, and look at KAFKA_BOOTSTRAP and the rights of this user";
        let what = error.to_string();
        Some(Flaw::new(Code::LogAway, "", what, mend.to_owned()).into())
    };
    let mut specs = args.specs(names);
    let mut found = BTreeSet::new();
    match topics::pinned(log, names).await {
        Ok(Some(pins)) => {
            specs = topics::as_pinned(&specs, &pins);
            let watch = PinWatch::new(log.clone(), &pins);
            watch.look().await;
            found.extend(watch.flaws().into_values().map(Finding::from));
        }
        Ok(None) => match topics::lost(log, names).await {
            Ok(lost) => found.extend(lost.map(Finding::from)),
            Err(error) => return (found, away(&error)),
        },
        Err(PinError::Unreadable(what)) => {
            let mend = "restore its partition 0 from a backup".to_owned();
            let flaw = Flaw::new(Code::PinsUnreadable, names.state(), what, mend);
            found.insert(Finding::from(flaw));
        }
        Err(error) => return (found, away(&error)),
    }
    match checkup::settings(log, &specs, &checkup::needs(args, names)).await {
        Ok(settings) => {
            // What the pins say of a topic is more to the point than what the settings say of it.
            let known: BTreeSet<String> =
                found.iter().map(|finding| finding.about.clone()).collect();
            found.extend(
                settings.into_iter().filter(|finding| {
                    !(finding.is_of_the_pins() && known.contains(&finding.about))
                }),
            );
            (found, None)
        }
        Err(error) => (found, away(&error)),
    }
}
