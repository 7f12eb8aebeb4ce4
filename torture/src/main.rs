//! The command `rivermouth-torture`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::sync::watch;
use torture::actors::Part;
use torture::page::page;
use torture::run::{Order, run};
use torture::schedule::Kind;
use torture::world::Size;

/// Clients, backends and faults against real processes, and a judge.
#[derive(Debug, Parser)]
#[command(name = "rivermouth-torture")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs once and prints a page. Status 0 when everything holds, else 1.
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// The `rivermouth` to torture.
    #[arg(long, default_value = "target/debug/rivermouth")]
    binary: String,
    /// Decides the workload and the faults; what threads and networks make of them is not repeatable.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the storm lasts (`90s`, `10m`, `1h`). What follows takes a minute or two.
    #[arg(long, default_value = "10m", value_parser = duration)]
    duration: Duration,
    /// 1 or 3.
    #[arg(long, default_value_t = 3, value_parser = brokers)]
    brokers: u32,
    /// Processes of each service.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=8))]
    copies: u8,
    /// Events a second over all publishers.
    #[arg(long, default_value_t = 600.0)]
    rate: f64,
    /// Between two faults.
    #[arg(long, default_value = "8s", value_parser = duration)]
    every: Duration,
    /// Only these faults, separated by commas; all without. `none` for a run without faults.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How long healing, the last events, the readers and the tables may take at the end, each.
    #[arg(long, default_value = "90s", value_parser = duration)]
    patience: Duration,
    /// A setting of every process, as often as wanted: `RIVERMOUTH_RING_MIB=1`.
    #[arg(long, value_parser = setting, value_name = "NAME=VALUE")]
    set: Vec<(String, String)>,
    /// Writes the page there, too.
    #[arg(long)]
    page: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no duration"))?;
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("`{text}` is no duration: use s, m or h")),
    };
    Ok(Duration::from_secs(number * seconds))
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn brokers(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".into()),
    }
}

impl Run {
    fn order(&self) -> Result<Order, String> {
        let kinds = match self.only.as_slice() {
            [] => Kind::ALL.to_vec(),
            [none] if none == "none" => Vec::new(),
            named => named
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?,
        };
        let clock = testbed::unix_ms().unsigned_abs();
        Ok(Order {
            size: Size {
                binary: self.binary.clone(),
                brokers: self.brokers,
                copies: self.copies.into(),
                settings: self.set.clone(),
            },
            seed: self.seed.unwrap_or(clock),
            duration: self.duration,
            every: self.every,
            kinds,
            rate: self.rate,
            parts: Part::ALL.to_vec(),
            patience: self.patience,
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run(arguments) = Arguments::parse().command;
    let order = match arguments.order() {
        Ok(order) => order,
        Err(error) => {
            eprintln!("rivermouth-torture: {error}");
            return ExitCode::from(64);
        }
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            println!("stopping: everything heals and is judged");
            stop.send_replace(true);
            std::future::pending::<()>().await;
        }
    });
    println!("seed {}", order.seed);
    match run(order, stopped).await {
        Ok(report) => {
            let text = page(&report);
            println!("\n{text}");
            if let Some(path) = arguments.page
                && let Err(error) = std::fs::write(&path, &text)
            {
                eprintln!("rivermouth-torture: {}: {error}", path.display());
            }
            if report.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("rivermouth-torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}
