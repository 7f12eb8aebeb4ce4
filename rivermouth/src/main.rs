//! `rivermouth`: the one binary. It starts exactly what the tests start.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod checkup;
mod cli;
mod dev;
mod digest;
mod doctor;
mod exit;
mod migrate;
mod parts;
mod probe;
mod publish;
mod rebuild;
mod repin;
mod run;
mod settings;
mod tail;
mod target;
mod token;
mod topics;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os().collect())
}
