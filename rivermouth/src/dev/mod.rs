//! `rivermouth dev`: ingest, fanout and persister in one process, on a log and a database of its own.
//!
//! It starts the same parts that production starts, with the same order of stopping. What it adds: a data
//! directory, a private PostgreSQL, a secret and tokens, a page, and somebody to watch on it.

mod banner;
mod binaries;
pub(crate) mod data_dir;
mod demo;
mod owner;
mod page;
mod postgres;
mod tokens;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use broker::{EmbeddedConfig, Log};
use clap::Args;
use service::Secret;
use service::settings::SettingsError;
use store::Store;

use crate::parts::{self, Ground};
use crate::run::fanout::{Node, NodeArgs};
use crate::run::footing::{self, Work};
use crate::run::process::Process;
use crate::run::{Door, gateway, log, persister};
use crate::settings::auth::AuthArgs;
use crate::settings::kafka::KafkaArgs;
use crate::settings::postgres::PostgresArgs;
use crate::settings::process::ProcessArgs;
use crate::settings::public::PublicArgs;

use banner::Banner;
use data_dir::DataDir;
use postgres::Cluster;
use tokens::Tokens;

/// Tokens live for a day at most, so the one in the data directory is made anew well before.
const TOKEN_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rivermouth dev
  rivermouth dev --realtime-port 8090 --metrics-port 9091 --data-dir /tmp/river
  KAFKA_BOOTSTRAP=localhost:9092 rivermouth dev
  DATABASE_URL=postgres://me@localhost/rivermouth rivermouth dev

Without KAFKA_BOOTSTRAP the log is on disk, in the data directory. Without DATABASE_URL a private PostgreSQL is
started there, with the server programs found in PG_BIN, PATH, /usr/lib/postgresql/*/bin or Homebrew.")]
pub(crate) struct DevArgs {
    /// Where everything that outlives a run is kept
    #[arg(long, env = "RIVERMOUTH_DATA_DIR", default_value = data_dir::DEFAULT, value_name = "DIR")]
    data_dir: PathBuf,

    /// Nobody moves in the demo session
    #[arg(
        long,
        env = "RIVERMOUTH_NO_DEMO",
        default_value_t = false,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    no_demo: bool,

    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    public: PublicArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// The command with the defaults of development: this machine only, and quiet logs.
pub(crate) fn with_own_defaults(command: clap::Command) -> clap::Command {
    command
        .mut_arg("bind", |arg| arg.default_value("127.0.0.1"))
        .mut_arg("metrics_bind", |arg| arg.default_value("127.0.0.1"))
        .mut_arg("log_level", |arg| arg.default_value("warn"))
        .mut_arg("drain_spread", |arg| arg.default_value("0s"))
        .mut_arg("shutdown_deadline", |arg| arg.default_value("15s"))
}

pub(crate) async fn run(mut args: DevArgs) -> anyhow::Result<()> {
    let began = Instant::now();
    args.process.check()?;
    args.kafka.topics()?;
    let kafka = args.kafka.config("rivermouth-dev")?;
    let url = args.postgres.url()?;
    let data = DataDir::open(&args.data_dir)?;
    let tokens = Arc::new(Tokens::new(own_secret(&mut args.auth, &data)?, &args.auth));

    // Found out before anything is started: a port that somebody else has.
    let listener = service::bind(args.public.address())
        .context("the public port (choose another with --realtime-port)")?;
    let address = listener.local_addr()?;
    let door = Door::check(&args.public, &args.auth, &own_origins(address))?;
    args.process.start_logs()?;
    let process = Process::start("dev", &args.process)
        .context("the metrics port (choose another with --metrics-port)")?;

    let base = Base {
        began,
        address,
        data: &data,
        tokens: &tokens,
        door: &door,
    };
    let stopped = process.stop.clone();
    let log = match kafka {
        Some(config) => parts::kafka(config).await?,
        None => Log::embedded(EmbeddedConfig::new(data.log()))
            .await
            .context("opening the log")?,
    };
    // The log first: it says which installation this is, and so which rows are its own.
    let Some(ground) = Ground::lay(log, &args.kafka, &process.stop).await? else {
        return process.abandon().await;
    };
    match url {
        Some(url) => {
            let psql = r#"psql "$DATABASE_URL""#.to_owned();
            let told = "as DATABASE_URL says".to_owned();
            let database = Database { url, psql, told };
            serve(&args, base, listener, process, &ground, database).await
        }
        None => {
            let installation = owner::fingerprint(&ground.pins.cursor_key);
            let starting = Cluster::start(data.path(), &installation, |line| println!("{line}"));
            let mut cluster = tokio::select! {
                started = starting => started?,
                () = stopped.started() => return process.abandon().await,
            };
            let database = Database {
                url: cluster.url(),
                psql: cluster.psql_line("rivermouth_analyst"),
                told: "a private PostgreSQL in the data directory".to_owned(),
            };
            let served = tokio::select! {
                served = serve(&args, base, listener, process, &ground, database) => served,
                ended = cluster.died() => {
                    bail!("the private PostgreSQL ended by itself ({ended:?}); see postgres.log in {}",
                        data.path().display())
                }
            };
            let ended = cluster.stop().await;
            served.and(ended)
        }
    }
}

/// What is fixed before the log and the database are there.
struct Base<'a> {
    began: Instant,
    address: SocketAddr,
    data: &'a DataDir,
    tokens: &'a Arc<Tokens>,
    door: &'a Door,
}

struct Database {
    url: Secret,
    psql: String,
    told: String,
}

async fn serve(
    args: &DevArgs,
    base: Base<'_>,
    listener: tokio::net::TcpListener,
    process: Process,
    ground: &Ground,
    database: Database,
) -> anyhow::Result<()> {
    let opened = process.health.latch("start");
    log::watch(ground, &process);
    let store = parts::store(&database.url, args.postgres.options("dev")).await?;
    migrate(&store).await?;
    footing::watch(ground, &args.kafka, Some(&store), Work::Reads, &process);
    let gateway = gateway(
        ground,
        base.door,
        Some(store.clone()),
        &args.public,
        &process,
    )
    .await?;
    let decoder = parts::decoder(ground, &args.kafka)?;
    persister::work(ground, &store, &decoder, None, &process);
    let node = Node {
        args: &args.node,
        public: &args.public,
        deadline: args.process.shutdown_deadline / 2,
    };
    let routes = node
        .routes(
            ground,
            base.door,
            &gateway,
            Some(store.clone()),
            &decoder,
            &process,
        )?
        .merge(page::router(Arc::clone(base.tokens)));
    let mut config = args.public.serve_config(args.process.shutdown_deadline);
    if base.address.ip().is_loopback() {
        config.hosts_allowed = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec();
    } else {
        eprintln!(
            "rivermouth: development mode listens on {}: everybody who reaches it is let in",
            base.address
        );
    }
    process.open_doors(listener, routes, config);
    opened.open();

    let token = base.tokens.of_developer()?;
    base.data.keep_token(&token)?;
    keep_token_fresh(&base, &process);
    if !args.no_demo {
        process
            .doors
            .spawn("demo", demo::play(gateway.clone(), process.doors.clone()));
    }
    let banner = Banner {
        url: format!("http://{}", reachable(base.address)),
        metrics: format!("http://{}", reachable(process.metrics_address)),
        log: match &args.kafka.kafka_bootstrap {
            Some(bootstrap) => format!("Kafka at {bootstrap}"),
            None => "on disk, in the data directory".to_owned(),
        },
        database: database.told,
        psql: database.psql,
        token,
        token_file: base.data.token_file(),
        data_dir: base.data.path().to_owned(),
        started_in: base.began.elapsed(),
    };
    print!("{}", banner.text(std::io::stdout().is_terminal()));
    let stop = process.stop.clone();
    tokio::spawn(async move {
        stop.started().await;
        println!("stopping");
    });
    process.until_stopped(&ground.log, Some(&store)).await
}

async fn migrate(store: &Store) -> anyhow::Result<()> {
    store
        .migrate()
        .await
        .context("bringing the tables up to date")
}

/// The secret of the settings, else the one that the data directory keeps.
fn own_secret(auth: &mut AuthArgs, data: &DataDir) -> anyhow::Result<Secret> {
    if auth.jwt_public_key_file.is_some() {
        let reason = "`dev` makes tokens itself; give it a secret or nothing";
        return Err(SettingsError::value("jwt-public-key-file", reason).into());
    }
    if let Some(secret) = auth.secret()? {
        return Ok(secret);
    }
    let secret = data.secret()?;
    auth.jwt_secret = Some(secret.clone());
    Ok(secret)
}

/// The names under which the page itself is opened.
fn own_origins(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let mut origins = vec![
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://[::1]:{port}"),
    ];
    if !address.ip().is_unspecified() {
        origins.push(format!("http://{address}"));
    }
    origins
}

/// The address to type for a listener's address.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    }
}

fn keep_token_fresh(base: &Base<'_>, process: &Process) {
    let (tokens, file) = (Arc::clone(base.tokens), base.data.token_file());
    let stop = process.doors.clone();
    process.doors.spawn("token", async move {
        loop {
            tokio::select! {
                () = stop.started() => return,
                () = tokio::time::sleep(TOKEN_EVERY) => {}
            }
            let kept = tokens
                .of_developer()
                .map_err(anyhow::Error::from)
                .and_then(|token| data_dir::write_private(&file, &token));
            if let Err(error) = kept {
                tracing::warn!(error = %format!("{error:#}"), "the ready token could not be renewed");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed() {
        assert_eq!(reachable("0.0.0.0:8080".parse().unwrap()), "127.0.0.1:8080");
        assert_eq!(reachable("127.0.0.1:1".parse().unwrap()), "127.0.0.1:1");
        service::origin::Origins::new(
            own_origins("[::1]:8080".parse().unwrap())
                .iter()
                .map(String::as_str),
        )
        .unwrap();
    }
}
