//! The command `rivermouth-bench`, which `rivermouth bench` runs: load, scenarios, yardsticks and the peers.
// A measurement that cannot be taken ends there and then, and a number that does not fit a table is none.
#![allow(clippy::cast_precision_loss)]

mod dialect;
mod load;
mod machine;
mod order;
mod payload;
mod peers;
mod relay;
mod results;
mod scenario;
mod ws;

use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

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
    /// Takes scenarios, prints their figures and adds them to a file.
    Run(scenario::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Relay { manner } => serve(manner),
        Command::Run(arguments) => scenario::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
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
