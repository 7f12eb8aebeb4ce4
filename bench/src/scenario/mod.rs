//! The scenarios, and what one sitting of them shares.

mod catch_up;
mod connect;
mod embedded;
mod engine;
mod growth;
mod idle;
mod ingest;
mod latency;
mod persist;
mod reconnect;
mod shape;
mod sitting;
mod slow;
mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::interrupt;
use crate::machine::{LOAD_CPU, alone_on};
use crate::results::Results;
pub use embedded::alone as embedded;
pub use engine::Engine;
use shape::Shape;
pub use sitting::Sitting;

/// What to take, and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Scenarios, separated by commas; all without.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Servers, separated by commas; all but the peers without.
    #[arg(long, value_delimiter = ',')]
    pub engines: Vec<Engine>,
    /// The peers, too: socketio, socketio-redis, nchan, nats. `scripts/peers.sh` installs them.
    #[arg(long)]
    pub peers: bool,
    /// The `rivermouth` to measure.
    #[arg(long, default_value = "target/release/rivermouth")]
    pub binary: String,
    /// How long each measurement lasts.
    #[arg(long, default_value = "8", value_parser = seconds, value_name = "SECONDS")]
    pub time: Duration,
    /// How long each runs before it is measured.
    #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub warm_up: Duration,
    /// How often each measurement is taken.
    #[arg(long, default_value_t = 3)]
    pub repeats: u32,
    /// Divides the clients of every scenario.
    #[arg(long, default_value_t = 1)]
    pub divide: u32,
    /// The figures are added to this file.
    #[arg(long, default_value = "target/bench/results.json")]
    pub results: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Takes them.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    interrupt::watch()?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // Everything but the servers under test stays here, whoever starts it.
    alone_on(LOAD_CPU)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut sitting = Sitting::new(arguments.clone())?;
        let mut results = Results::open(&arguments.results)?;
        let known: Vec<&str> = Shape::ALL
            .iter()
            .map(|shape| shape.name)
            .chain(OTHERS)
            .collect();
        for name in &arguments.only {
            anyhow::ensure!(
                known.contains(&name.as_str()),
                "there is no scenario {name}; there are {}",
                known.join(", ")
            );
        }
        for name in known {
            if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == name) {
                continue;
            }
            for repeat in 0..arguments.repeats {
                interrupt::check()?;
                let points = take(&mut sitting, name).await;
                for mut point in points.with_context(|| name.to_owned())? {
                    point.repeat = repeat;
                    println!("{point}");
                    results.add(point)?;
                }
            }
        }
        results.void()
    })
}

/// The names of the shapes of traffic.
pub fn shapes() -> impl Iterator<Item = &'static str> {
    Shape::ALL.iter().map(|shape| shape.name)
}

/// Scenarios that are more than traffic of a shape.
const OTHERS: [&str; 13] = [
    "connect-storm",
    "idle",
    "reconnect-storm",
    "slow-readers",
    "ingest",
    "latency",
    "catch-up",
    "persist",
    "embedded",
    "growth-subscribers",
    "growth-channels",
    "growth-partitions",
    "growth-stored",
];

async fn take(sitting: &mut Sitting, name: &str) -> anyhow::Result<Vec<crate::results::Point>> {
    if let Some(shape) = Shape::ALL.iter().find(|shape| shape.name == name) {
        return traffic::take(sitting, shape).await;
    }
    match name {
        "connect-storm" => connect::take(sitting).await,
        "idle" => idle::take(sitting).await,
        "reconnect-storm" => reconnect::take(sitting).await,
        "slow-readers" => slow::take(sitting).await,
        "ingest" => ingest::take(sitting).await,
        "latency" => latency::take(sitting).await,
        "catch-up" => catch_up::take(sitting).await,
        "persist" => persist::take(sitting).await,
        "growth-subscribers" => growth::subscribers(sitting).await,
        "growth-channels" => growth::channels(sitting).await,
        "growth-partitions" => growth::partitions(sitting).await,
        "growth-stored" => growth::stored(sitting).await,
        "embedded" => embedded::take(sitting).await,
        _ => anyhow::bail!("there is no scenario {name}"),
    }
}
