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

/// A gateway's work is many small allocations that live from a few microseconds to the end of a connection; glibc's takes
/// a fifth more of the processor for that (`bench/RESULTS.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os().collect())
}
