//! `rivermouth digest`: what the tables hold, day by day, in a form that can be compared.

use clap::Args;
use service::settings::SettingsError;
use service::telemetry::{self, LogFormat};
use store::{DAY_MS, Digest, Store, StoreOptions};

use crate::settings::postgres::PostgresArgs;
use crate::{checkup, parts};

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgres://rm@db/rm rivermouth digest --from 2026-11-01 > before

One line for each day (UTC), table, topic, generation and partition, with its number of rows and a SHA-256 over all their
columns in the order of the log. The same records give the same lines, however often they were stored. How far the tables
are complete says the view analytics.completeness.")]
pub(crate) struct DigestArgs {
    /// First day, `2026-11-21`; the first that has events without it
    #[arg(long, value_name = "DAY")]
    from: Option<String>,

    /// Last day; the last that has events without it
    #[arg(long, value_name = "DAY")]
    to: Option<String>,

    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) async fn run(args: DigestArgs) -> anyhow::Result<()> {
    let url = args.postgres.required()?;
    let (from, to) = (day("from", args.from)?, day("to", args.to)?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(SettingsError::value("from", "it is after the day of --to").into());
    }
    telemetry::init("warn", LogFormat::Auto)?;
    let options = StoreOptions {
        connections_max: 2,
        ..args.postgres.options("digest")
    };
    let store = parts::store(&url, options).await?;
    let printed = print(&store, from, to).await;
    store.close().await;
    printed
}

async fn print(store: &Store, from: Option<i64>, to: Option<i64>) -> anyhow::Result<()> {
    checkup::migrated(store).await?;
    let Some((first, last)) = store.days_stored().await? else {
        return Ok(());
    };
    let (first, last) = (from.unwrap_or(first), to.unwrap_or(last));
    for at_ms in (first..=last).step_by(usize::try_from(DAY_MS)?) {
        for digest in store.digests(at_ms).await? {
            println!("{}", line(&digest));
        }
    }
    Ok(())
}

fn line(digest: &Digest) -> String {
    let number = |number: Option<i32>| number.map_or("-".to_owned(), |number| number.to_string());
    [
        digest.day.clone(),
        digest.content.clone(),
        digest.topic.clone().unwrap_or_else(|| "-".to_owned()),
        number(digest.generation),
        number(digest.partition),
        digest.count.to_string(),
        digest.digest.clone(),
    ]
    .join("\t")
}

/// `2026-11-21` as the Unix time of its beginning, ms.
fn day(flag: &'static str, text: Option<String>) -> Result<Option<i64>, SettingsError> {
    let Some(text) = text else {
        return Ok(None);
    };
    match days_since_1970(&text) {
        Some(days) => Ok(Some(days * DAY_MS)),
        None => Err(SettingsError::value(
            flag,
            "a day is written 2026-11-21, from 1970 to 9999",
        )),
    }
}

/// The number of a day of the Gregorian calendar; by counting, for a few thousand years are few.
fn days_since_1970(text: &str) -> Option<i64> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let number = |text: &str, digits: usize| -> Option<i64> {
        (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let length = *months.get(index)?;
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    let years: i64 = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum();
    Some(years + months[..index].iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, days) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(11_016)),
            ("2026-11-21", Some(20_778)),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("1969-12-31", None),
            ("2026-1-1", None),
            ("heute", None),
            ("2026-11-+1", None),
        ] {
            assert_eq!(days_since_1970(text), days, "{text}");
        }
    }
}
