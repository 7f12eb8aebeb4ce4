//! `rivermouth bench`: becomes the benchmark, a program of its own, so that no service carries a load generator.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Args;

/// The program, beside this one.
const PROGRAM: &str = "rivermouth-bench";

#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct BenchArgs {
    /// What `rivermouth-bench` takes; `--help` tells
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<OsString>,
}

/// Returns only when there is no such program.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let here = std::env::current_exe().context("asking where this program is")?;
    let program = here.with_file_name(PROGRAM);
    if !program.exists() {
        bail!(
            "{} is not there: in a checkout `cargo build --release -p rivermouth -p bench` makes it",
            program.display()
        );
    }
    let error = Command::new(&program).args(&args.arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
