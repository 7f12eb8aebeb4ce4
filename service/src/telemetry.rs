//! Structured logs: one JSON object a line on standard error (or readable text for a person in front of it).
//!
//! Text that came from outside is only ever a field, never part of the message, so that no client can
//! write a log line of its own. `RUST_LOG`, when set, wins over the level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Readable text.
    Text,
    /// Text on a terminal, JSON elsewhere.
    Auto,
}

/// What went wrong while starting the logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level or `RUST_LOG` cannot be read; configuration has to change.
    #[error("log level: {0}")]
    Level(String),
    /// Logs were already started in this process.
    #[error("logs were started twice")]
    Twice,
}

/// Starts the process's logs. `level` is `error`, `warn`, `info`, `debug`, `trace` or a filter such as
/// `info,fanout=debug`.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(level: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let directives = std::env::var("RUST_LOG")
        .ok()
        .filter(|set| !set.is_empty())
        .unwrap_or_else(|| level.to_owned());
    let filter = filter(&directives)?;
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let started = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init()
    };
    started.map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic is a log line like any other, and not free text between the JSON lines.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no message");
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(what, place, thread, %backtrace, "panic");
}

/// Checks a level without starting anything.
///
/// # Errors
/// [`TelemetryError::Level`] says what is wrong with it.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    filter(level).map(|_| ())
}

fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    // The strict parser: a typo is told, not ignored.
    EnvFilter::builder().parse(directives).map_err(|error| {
        TelemetryError::Level(format!("\"{directives}\" is not a filter: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        check_level("info").unwrap();
        check_level("info,fanout=debug").unwrap();
        assert!(check_level("fanout=loud").is_err());
    }
}
