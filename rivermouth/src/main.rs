//! `rivermouth`: the one binary. It starts exactly what the tests start.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cli;
mod dev;
mod exit;
mod migrate;
mod parts;
mod probe;
mod publish;
mod run;
mod settings;
mod tail;
mod target;
mod token;
mod topics;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os().collect())
}
