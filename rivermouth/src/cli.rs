//! The command line: subcommands, help, and the way from arguments to settings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use service::settings;

use crate::bench::BenchArgs;
use crate::dev::DevArgs;
use crate::digest::DigestArgs;
use crate::doctor::DoctorArgs;
use crate::migrate::MigrateArgs;
use crate::probe::ProbeArgs;
use crate::publish::PublishArgs;
use crate::rebuild::RebuildArgs;
use crate::repin::RepinArgs;
use crate::run::{FanoutArgs, IngestArgs, PersisterArgs};
use crate::tail::TailArgs;
use crate::token::TokenArgs;
use crate::{
    bench, dev, digest, doctor, exit, migrate, probe, publish, rebuild, repin, run, tail, token,
};

/// Where the settings file is, when `--config` does not say.
const CONFIG_VARIABLE: &str = "RIVERMOUTH_CONFIG";

#[derive(Parser, Debug)]
#[command(
    name = "rivermouth",
    version,
    about = "Events from Kafka to browsers, in order, resumable, and into PostgreSQL",
    long_about = "Events from Kafka to browsers, in order, resumable, and into PostgreSQL.\n\n\
        `rivermouth dev` runs everything in one process and needs nothing but PostgreSQL's programs. \
        Production is any number of `ingest`, `fanout` and `persister` processes around one Kafka and \
        one PostgreSQL.",
    after_help = SETTINGS_HELP,
    disable_help_subcommand = true,
    max_term_width = 110
)]
struct Cli {
    /// Settings file (TOML): the same names as the flags, for example `metrics-port = 9091`
    #[arg(long, global = true, env = CONFIG_VARIABLE, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Subcommands,
}

const SETTINGS_HELP: &str = "\
Settings come from flags, then environment variables, then the settings file, in that order of strength.
Durations are written 250ms, 10s, 5m, 24h, 7d.

Exit status: 0 done or stopped as told, 64 bad arguments or settings (nothing was started), 1 anything else.";

#[derive(Subcommand, Debug)]
enum Subcommands {
    /// Everything in one process, for development: prints a URL, a token, and lines to try
    Dev(Box<DevArgs>),
    /// Take publishes over HTTP and write them to Kafka
    Ingest(Box<IngestArgs>),
    /// Serve clients: WebSocket, server-sent events, streaming, polling, history, publishes
    Fanout(Box<FanoutArgs>),
    /// Write what Kafka holds into PostgreSQL
    Persister(Box<PersisterArgs>),
    /// Bring the tables in PostgreSQL up to date
    Migrate(Box<MigrateArgs>),
    /// Drop what Kafka can give again from PostgreSQL, and store it anew
    Rebuild(Box<RebuildArgs>),
    /// Print what PostgreSQL holds of each day, in a form that can be compared
    Digest(Box<DigestArgs>),
    /// Look at Kafka's and PostgreSQL's settings and at the topics, and say what is wrong and how to mend it
    Doctor(Box<DoctorArgs>),
    /// Accept that a topic was created again: it becomes its own next generation
    Repin(Box<RepinArgs>),
    /// Make a token (HS256)
    Token(Box<TokenArgs>),
    /// Publish events
    Publish(Box<PublishArgs>),
    /// Follow channels and print their events
    Tail(Box<TailArgs>),
    /// Measure this build, in a checkout: load, yardsticks, peers
    Bench(BenchArgs),
    /// Ask the service on this machine whether it is ready, for health checks
    Probe(ProbeArgs),
}

/// Runs what the arguments ask for; the process's whole life.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(Refused::Clap(error)) => {
            // Help and version are no failures; everything else is bad usage.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
        Err(Refused::Settings(error)) => return exit::failed(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("rivermouth")
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&anyhow::Error::from(error).context("starting threads")),
    };
    let ended = runtime.block_on(dispatch(cli.command));
    // Blocking calls that never return (a name that does not resolve) must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failed(&error),
    }
}

async fn dispatch(command: Subcommands) -> anyhow::Result<()> {
    match command {
        Subcommands::Dev(args) => Box::pin(dev::run(*args)).await,
        Subcommands::Ingest(args) => Box::pin(run::ingest(*args)).await,
        Subcommands::Fanout(args) => Box::pin(run::fanout::fanout(*args)).await,
        Subcommands::Persister(args) => Box::pin(run::persister::persister(*args)).await,
        Subcommands::Migrate(args) => Box::pin(migrate::run(*args)).await,
        Subcommands::Rebuild(args) => Box::pin(rebuild::run(*args)).await,
        Subcommands::Digest(args) => Box::pin(digest::run(*args)).await,
        Subcommands::Doctor(args) => Box::pin(doctor::run(*args)).await,
        Subcommands::Repin(args) => Box::pin(repin::run(*args)).await,
        Subcommands::Token(args) => token::run(&args),
        Subcommands::Publish(args) => Box::pin(publish::run(*args)).await,
        Subcommands::Tail(args) => Box::pin(tail::run(*args)).await,
        Subcommands::Bench(args) => bench::run(&args),
        Subcommands::Probe(args) => probe::run(&args).await,
    }
}

enum Refused {
    Clap(clap::Error),
    Settings(settings::SettingsError),
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, Refused> {
    let command = Cli::command().mut_subcommand("dev", dev::with_own_defaults);
    let mut command = settings::without_empty_variables(command);
    if let Some(file) = settings::file_named(&arguments, CONFIG_VARIABLE) {
        command = settings::with_file(command, &file).map_err(Refused::Settings)?;
    }
    let mut matches = command
        .try_get_matches_from(arguments)
        .map_err(Refused::Clap)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(Refused::Clap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_parse(arguments: &[&str]) -> Result<Cli, Refused> {
        parse(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_says_what_it_is() {
        for sub in Cli::command().get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            for argument in sub.get_arguments() {
                let name = argument.get_id();
                assert!(argument.get_help().is_some(), "{} {name}", sub.get_name());
            }
        }
    }

    #[test]
    fn every_setting_of_a_service_has_a_variable_and_stands_in_the_operating_guide() {
        let guide = include_str!("../../docs/OPERATING.md");
        for sub in Cli::command().get_subcommands() {
            if !["dev", "ingest", "fanout", "persister", "migrate"].contains(&sub.get_name()) {
                continue;
            }
            for argument in sub.get_arguments() {
                let Some(flag) = argument.get_long().filter(|flag| *flag != "help") else {
                    continue;
                };
                let variable = argument.get_env().and_then(|name| name.to_str());
                let variable = variable.unwrap_or_else(|| panic!("{flag} has no variable"));
                let row = format!("| `--{flag}` | `{variable}` |");
                assert!(guide.contains(&row), "docs/OPERATING.md lacks {row}");
            }
        }
    }

    #[test]
    fn bad_usage_is_told_from_help() {
        let Err(Refused::Clap(error)) = try_parse(&["rivermouth", "ingest", "--help"]) else {
            panic!("help is an answer of its own");
        };
        assert!(!error.use_stderr());
        let Err(Refused::Clap(error)) = try_parse(&["rivermouth", "ingest", "--metrics-port", "x"])
        else {
            panic!("x is no port");
        };
        assert!(error.use_stderr());
        assert!(matches!(
            try_parse(&["rivermouth", "dev", "--config", "/does/not/exist"]),
            Err(Refused::Settings(_))
        ));
    }
}
