//! `rivermouth publish`: one event from the arguments, or many from standard input.

use std::io::BufRead;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use client::{Http, Publish, Published};
use service::settings::{SettingsError, duration};

use crate::target::{TargetArgs, explain};

/// Most lines of one HTTP batch (protocol section 9).
const BATCH_LINES_MAX: usize = 1000;
/// Stays below the 1 MiB of one HTTP batch.
const BATCH_BYTES_MAX: usize = 900 * 1024;

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rivermouth publish session.42 chat.message '{\"text\":\"hello\"}'
  rivermouth publish session.42 cursor.move '{\"x\":10,\"y\":20}' --lane ephemeral
  rivermouth publish jobs.9f job.update '{\"jobId\":\"9f\",\"status\":\"running\",\"progress\":40}'
  seq 100 | sed 's/.*/{\"channel\":\"session.42\",\"event\":\"note.edited\",\"data\":&}/' | rivermouth publish --lines

Prints the server's answer, one line an event: {\"id\":…,\"cursor\":…,\"duplicate\":…}. It comes once all in-sync
replicas have the event. An answer that does not come is asked for again under the same id, so that the event is
stored once.")]
pub(crate) struct PublishArgs {
    /// The channel, `session.42`
    #[arg(required_unless_present = "lines")]
    pub(crate) channel: Option<String>,

    /// The event's name, `chat.message`
    #[arg(required_unless_present = "lines")]
    pub(crate) event: Option<String>,

    /// Any JSON value
    #[arg(default_value = "null")]
    pub(crate) data: String,

    /// The event's id; a UUIDv7 is made when there is none
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,

    /// `durable` or `ephemeral`; by default what the event's name implies
    #[arg(long, value_name = "LANE")]
    pub(crate) lane: Option<String>,

    /// Only for these users, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "USER")]
    pub(crate) to: Vec<String>,

    /// On behalf of this user (needs a backend's token)
    #[arg(long = "as", value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Read publishes from standard input instead, one JSON object a line
    #[arg(long, conflicts_with_all = ["channel", "event"])]
    pub(crate) lines: bool,

    /// How long to keep trying
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<()> {
    let token = args.target.token()?;
    let http = Http::new(args.target.endpoint()?, Some(token.expose()))
        .map_err(|error| SettingsError::value("url", error.to_string()))?;
    if args.lines {
        return lines(&http, args.timeout).await;
    }
    let publish = from_arguments(&args)?;
    let published = until_answered(&http, &publish, args.timeout).await?;
    println!("{}", answer_line(&published));
    Ok(())
}

fn from_arguments(args: &PublishArgs) -> Result<Publish, SettingsError> {
    let channel = args.channel.clone().unwrap_or_default();
    let event = args.event.clone().unwrap_or_default();
    let mut publish = Publish::new(channel, event, args.data.clone())
        .map_err(|error| SettingsError::value("DATA", error.to_string()))?;
    publish.id = Some(args.id.clone().unwrap_or_else(new_id));
    publish.lane.clone_from(&args.lane);
    publish.user_id.clone_from(&args.user);
    if !args.to.is_empty() {
        publish.to = Some(args.to.clone());
    }
    Ok(publish)
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

async fn until_answered(
    http: &Http,
    publish: &Publish,
    patience: Duration,
) -> anyhow::Result<Published> {
    let deadline = Instant::now() + patience;
    loop {
        match http.publish(publish).await {
            Ok(published) => return Ok(published),
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                let pause = error.retry_after().unwrap_or(Duration::from_millis(500));
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(explain(&error)),
        }
    }
}

/// What standard input holds, in order.
enum Input {
    Batch(Vec<Publish>),
    /// A line that is no publish: it fails alone.
    Bad(anyhow::Error),
}

async fn lines(http: &Http, patience: Duration) -> anyhow::Result<()> {
    // Standard input is read where blocking is allowed; a full channel makes it wait.
    let (sender, mut inputs) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || read_batches(std::io::stdin().lock(), &sender));
    let mut failed = 0_usize;
    while let Some(input) = inputs.recv().await {
        match input {
            Input::Batch(batch) => failed += send_batch(http, batch, patience).await?,
            Input::Bad(error) => {
                failed += 1;
                println!("{}", serde_json::json!({ "error": format!("{error:#}") }));
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of the events were refused");
    }
    Ok(())
}

/// Ends when the input does, or when nobody takes what was read.
fn read_batches(input: impl BufRead, sender: &tokio::sync::mpsc::Sender<Input>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (number, line) in (1..).zip(input.lines()) {
        let broken = line.is_err();
        let publish = line
            .map_err(anyhow::Error::from)
            .and_then(|line| parse_line(&line))
            .with_context(|| format!("line {number}"));
        let mut bad = None;
        match publish {
            Ok(Some(publish)) => {
                bytes += publish.to_json().len() + 1;
                batch.push(publish);
            }
            Ok(None) => {}
            Err(error) => bad = Some(error),
        }
        let full = batch.len() >= BATCH_LINES_MAX || bytes >= BATCH_BYTES_MAX;
        // Answers come in the order of the lines: what stands before a bad line goes first.
        if full || (bad.is_some() && !batch.is_empty()) {
            bytes = 0;
            if sender
                .blocking_send(Input::Batch(std::mem::take(&mut batch)))
                .is_err()
            {
                return;
            }
        }
        if let Some(error) = bad
            && (sender.blocking_send(Input::Bad(error)).is_err() || broken)
        {
            return;
        }
    }
    if !batch.is_empty() {
        // The receiver is gone only when the program ends.
        drop(sender.blocking_send(Input::Batch(batch)));
    }
}

/// One line of standard input; `None` for a blank one.
fn parse_line(line: &str) -> anyhow::Result<Option<Publish>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Line {
        channel: String,
        event: String,
        data: Option<Box<serde_json::value::RawValue>>,
        id: Option<String>,
        lane: Option<String>,
        to: Option<Vec<String>>,
        user_id: Option<String>,
    }
    if line.trim().is_empty() {
        return Ok(None);
    }
    let line: Line = serde_json::from_str(line)?;
    let data = line
        .data
        .map_or("null".to_owned(), |data| data.get().to_owned());
    let mut publish = Publish::new(line.channel, line.event, data)?;
    publish.id = Some(line.id.unwrap_or_else(new_id));
    publish.lane = line.lane;
    publish.to = line.to;
    publish.user_id = line.user_id;
    Ok(Some(publish))
}

/// Sends a batch until every line has its answer, in order; gives back how many were refused for good.
async fn send_batch(
    http: &Http,
    mut batch: Vec<Publish>,
    patience: Duration,
) -> anyhow::Result<usize> {
    let deadline = Instant::now() + patience;
    let mut refused = 0;
    while !batch.is_empty() {
        let answers = match http.publish_batch(&batch).await {
            Ok(answers) => answers,
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                tokio::time::sleep(error.retry_after().unwrap_or(Duration::from_millis(500))).await;
                continue;
            }
            Err(error) => return Err(explain(&error)),
        };
        // The order of a channel's events holds only if nothing overtakes a line that has to be sent
        // again: everything from the first such line on goes again, under the same ids.
        let again = answers
            .iter()
            .position(|answer| matches!(answer, Err(refusal) if refusal.retryable))
            .filter(|_| Instant::now() < deadline);
        let settled = again.unwrap_or(answers.len());
        for answer in &answers[..settled] {
            match answer {
                Ok(published) => println!("{}", answer_line(published)),
                Err(refusal) => {
                    refused += 1;
                    println!("{}", serde_json::json!({ "error": refusal.to_string() }));
                }
            }
        }
        batch.drain(..settled);
        if let Some(Err(refusal)) = again.map(|at| &answers[at]) {
            let pause = refusal.retry_after_ms.unwrap_or(500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    Ok(refused)
}

fn answer_line(published: &Published) -> String {
    serde_json::json!({
        "id": published.id, "cursor": published.cursor, "duplicate": published.duplicate,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_fails_alone_and_in_its_place() {
        let good = r#"{"channel":"session.1","event":"draw","data":1}"#;
        let text = format!("{good}\nxx\n\n{good}\n{good}\n");
        let (sender, mut inputs) = tokio::sync::mpsc::channel(8);
        read_batches(text.as_bytes(), &sender);
        drop(sender);
        let mut seen = Vec::new();
        while let Some(input) = inputs.blocking_recv() {
            seen.push(match input {
                Input::Batch(batch) => batch.len().to_string(),
                Input::Bad(error) => format!("{error:#}"),
            });
        }
        assert_eq!(seen.len(), 3);
        assert_eq!((&*seen[0], &*seen[2]), ("1", "2"));
        assert!(seen[1].starts_with("line 2: "), "{}", seen[1]);
    }

    #[test]
    fn a_line_keeps_its_bytes_and_gets_an_id() {
        let publish = parse_line(r#"{"channel":"session.1","event":"draw","data":{"x":1.0}}"#);
        let publish = publish.unwrap().unwrap();
        assert!(publish.to_json().contains(r#""data":{"x":1.0}"#));
        assert!(publish.id.is_some());
        assert!(parse_line("  ").unwrap().is_none());
        assert!(parse_line(r#"{"channel":"session.1","event":"draw","dta":1}"#).is_err());
    }
}
