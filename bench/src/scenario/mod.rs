//! The scenarios, and what one sitting of them shares.

mod catch_up;
mod connect;
mod embedded;
mod engine;
mod growth;
mod idle;
mod ingest;
mod latency;
mod node;
mod persist;
mod reconnect;
mod shape;
mod sitting;
mod slow;
mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::interrupt;
use crate::lock::Lock;
use crate::machine::{LOAD_CPU, alone_on};
use crate::panics;
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
    #[arg(long, default_value = "3", value_parser = some_seconds, value_name = "SECONDS")]
    pub time: Duration,
    /// How long each runs before it is measured.
    #[arg(long, default_value = "1", value_parser = seconds, value_name = "SECONDS")]
    pub warm_up: Duration,
    /// How often each measurement is taken.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
    /// Divides the clients of every scenario.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub divide: u32,
    /// The figures are added to this file.
    #[arg(long, default_value = "target/bench/results.json")]
    pub results: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    match time.is_zero() {
        true => Err("in no time nothing can be measured".to_owned()),
        false => Ok(time),
    }
}

/// Takes them.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    interrupt::watch()?;
    panics::hush();
    let _lock = Lock::take()?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // Everything but the servers under test stays here, whoever starts it.
    alone_on(LOAD_CPU)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let scenarios = Scenario::wanted(&arguments.only)?;
        let mut sitting = Sitting::new(arguments.clone())?;
        for scenario in scenarios {
            for repeat in 0..arguments.repeats {
                interrupt::check()?;
                sitting.repeat = repeat;
                once(&mut sitting, scenario)
                    .await
                    .with_context(|| scenario.name())?;
            }
        }
        sitting.void()
    })
}

/// Takes one of them once; what failed is written down as void.
async fn once(sitting: &mut Sitting, scenario: Scenario) -> anyhow::Result<()> {
    let before = sitting.kept();
    let taken = panics::caught(scenario.take(sitting)).await;
    // Who asks to stop makes nothing void.
    interrupt::check()?;
    if let Err(error) = taken {
        sitting.fail(&error)?;
        return Err(error);
    }
    anyhow::ensure!(
        sitting.kept() > before || sitting.arguments.only.is_empty(),
        "it measures none of the servers that were named"
    );
    Ok(())
}

/// The names of all scenarios.
pub fn names() -> Vec<String> {
    let all = Scenario::all().into_iter();
    all.map(Scenario::name).collect()
}

/// The names of the shapes of traffic.
pub fn shapes() -> impl Iterator<Item = &'static str> {
    Shape::ALL.iter().map(|shape| shape.name)
}

/// Something that can be measured.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// Traffic of a shape.
    Traffic(&'static Shape),
    /// More than that.
    Other(Other),
}

/// Scenarios that are more than traffic of a shape.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Other {
    ConnectStorm,
    Idle,
    ReconnectStorm,
    SlowReaders,
    Ingest,
    Latency,
    CatchUp,
    Persist,
    Embedded,
    GrowthSubscribers,
    GrowthChannels,
    GrowthPartitions,
    GrowthStored,
}

impl Scenario {
    /// In their usual order.
    fn all() -> Vec<Scenario> {
        let others = Other::value_variants().iter().copied();
        Shape::ALL
            .iter()
            .map(Scenario::Traffic)
            .chain(others.map(Scenario::Other))
            .collect()
    }

    /// Those of these names, in their usual order; all of them when none is named.
    fn wanted(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
        let all = Scenario::all();
        let known = self::names();
        for name in names {
            anyhow::ensure!(
                known.contains(name),
                "there is no scenario {name}; there are {}",
                known.join(", ")
            );
        }
        let mut wanted = all;
        wanted.retain(|scenario| names.is_empty() || names.contains(&scenario.name()));
        Ok(wanted)
    }

    fn name(self) -> String {
        match self {
            Scenario::Traffic(shape) => shape.name.to_owned(),
            Scenario::Other(other) => other
                .to_possible_value()
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default(),
        }
    }

    async fn take(self, sitting: &mut Sitting) -> anyhow::Result<()> {
        let other = match self {
            Scenario::Traffic(shape) => return traffic::take(sitting, shape).await,
            Scenario::Other(other) => other,
        };
        match other {
            Other::ConnectStorm => connect::take(sitting).await,
            Other::Idle => idle::take(sitting).await,
            Other::ReconnectStorm => reconnect::take(sitting).await,
            Other::SlowReaders => slow::take(sitting).await,
            Other::Ingest => ingest::take(sitting).await,
            Other::Latency => latency::take(sitting).await,
            Other::CatchUp => catch_up::take(sitting).await,
            Other::Persist => persist::take(sitting).await,
            Other::Embedded => embedded::take(sitting).await,
            Other::GrowthSubscribers => growth::subscribers(sitting).await,
            Other::GrowthChannels => growth::channels(sitting).await,
            Other::GrowthPartitions => growth::partitions(sitting).await,
            Other::GrowthStored => growth::stored(sitting).await,
        }
    }
}
