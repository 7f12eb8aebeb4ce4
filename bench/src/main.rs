//! The command `rivermouth-bench`, which `rivermouth bench` runs: load, scenarios, yardsticks and the peers.

use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use bench::{keeper, relay, report, scenario};
use clap::{Parser, Subcommand};

/// Load against Rivermouth and, in the same sitting, against the least that a server must do.
#[derive(Debug, Parser)]
#[command(name = "rivermouth-bench", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A reference server on the listening socket that standard input is.
    #[command(hide = true)]
    Relay {
        /// How it writes.
        #[arg(long)]
        manner: relay::Manner,
    },
    /// The embedded log in this process: prints its figures.
    #[command(hide = true)]
    Embedded {
        /// Where, with nothing there yet.
        dir: PathBuf,
        /// How many it appends.
        records: u64,
    },
    /// Takes scenarios, prints their figures and adds them to a file.
    Run(scenario::Arguments),
    /// The same without somebody who tidies up after it.
    #[command(hide = true)]
    Sit(scenario::Arguments),
    /// Writes the tables of a page and the picture from the figures.
    Report(report::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Relay { manner } => serve(manner),
        Command::Embedded { dir, records } => scenario::embedded(&dir, records),
        // The process that is started in turn takes the arguments.
        Command::Run(_) => return told(keeper::keep()),
        Command::Sit(arguments) => keeper::kept().and_then(|()| scenario::run(&arguments)),
        Command::Report(arguments) => report::run(&arguments),
    };
    told(done.map(|()| ExitCode::SUCCESS))
}

fn told(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rivermouth-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(manner: relay::Manner) -> anyhow::Result<()> {
    let listener: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(relay::serve(TcpListener::from(listener), manner)?)
}
