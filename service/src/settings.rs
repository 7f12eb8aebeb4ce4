//! Settings from three places: command line, then environment, then a TOML file, in that order of strength.
//!
//! A program describes its settings once, as a clap command; the file's values become the command's
//! defaults, so `--help`, validation and messages are the same for all three. A file names settings as the
//! flags do (`metrics-port = 9091`, underscores are fine too); a name that no subcommand knows is an error,
//! as a misspelt flag is. An environment variable that is set to nothing counts as not set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::OsStr;
use clap::{ArgAction, Command};

/// Why settings could not be read. Nothing has been started yet; the process should exit with 64
/// (`EX_USAGE`).
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("settings file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting whose value cannot be, or that is missing.
    #[error("{name}: {reason}")]
    Value {
        /// The setting as the flags spell it.
        name: &'static str,
        /// What is wrong, without showing secrets.
        reason: String,
    },
}

impl SettingsError {
    /// A refusal of one setting.
    #[must_use]
    pub fn value(name: &'static str, reason: impl Into<String>) -> Self {
        SettingsError::Value {
            name,
            reason: reason.into(),
        }
    }
}

/// Where the settings file is: `--config FILE` or `--config=FILE` anywhere among the arguments, else the
/// environment variable `variable`. Looked for before the arguments are parsed, since it changes their
/// defaults.
#[must_use]
pub fn file_named(arguments: &[OsString], variable: &str) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--") => break,
            Some("--config") => return arguments.next().map(PathBuf::from),
            Some(text) => {
                if let Some(path) = text.strip_prefix("--config=") {
                    return Some(PathBuf::from(path));
                }
            }
            None => {}
        }
    }
    std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Makes the file's values the defaults of `command` and of its subcommands.
///
/// # Errors
/// [`SettingsError::File`] when the file cannot be read or holds a name that no flag has.
pub fn with_file(command: Command, path: &Path) -> Result<Command, SettingsError> {
    let refuse = |reason: String| SettingsError::File {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    with_text(command, &text).map_err(refuse)
}

fn with_text(command: Command, text: &str) -> Result<Command, String> {
    // The parser's own message quotes the line it stumbled over, which may hold a secret.
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| match error.span() {
            Some(span) => {
                let line = text[..span.start.min(text.len())].lines().count().max(1);
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        })?;
    let mut values = Vec::new();
    for (name, value) in table {
        let flag = name.replace('_', "-");
        values.push((flag, plain(&name, value)?));
    }
    for (flag, _) in &values {
        if !knows(&command, flag) {
            return Err(format!("no setting is called \"{flag}\""));
        }
    }
    Ok(apply(command, &values))
}

/// A TOML value as the strings a command line would have.
fn plain(name: &str, value: toml::Value) -> Result<Vec<String>, String> {
    Ok(match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Float(number) => vec![number.to_string()],
        toml::Value::Boolean(on) => vec![on.to_string()],
        toml::Value::Array(entries) => {
            let mut all = Vec::new();
            for entry in entries {
                all.extend(plain(name, entry)?);
            }
            all
        }
        toml::Value::Table(entries) => {
            let mut all = Vec::new();
            for (key, entry) in entries {
                let entry = plain(name, entry)?.join(",");
                all.push(format!("{key}={entry}"));
            }
            all
        }
        toml::Value::Datetime(_) => return Err(format!("\"{name}\" is a date")),
    })
}

fn knows(command: &Command, flag: &str) -> bool {
    command
        .get_arguments()
        .any(|argument| argument.get_long() == Some(flag))
        || command.get_subcommands().any(|sub| knows(sub, flag))
}

fn apply(command: Command, values: &[(String, Vec<String>)]) -> Command {
    let command = command.mut_args(|argument| {
        let value = values
            .iter()
            .find(|(flag, _)| argument.get_long() == Some(flag.as_str()));
        let Some((_, value)) = value else {
            return argument;
        };
        // Settings are read once and live as long as the process; clap keeps borrowed text only.
        let value: Vec<OsStr> = value
            .iter()
            .map(|text| OsStr::from(&*Box::leak(text.clone().into_boxed_str())))
            .collect();
        let secret = argument.is_hide_env_values_set();
        let argument = argument
            .required(false)
            .default_values(value)
            .hide_default_value(secret);
        match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .default_missing_value("true"),
            _ => argument,
        }
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| apply(sub, values))
    })
}

/// Forgets the environment variables of `command` that are set to nothing.
#[must_use]
pub fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let empty = argument
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty());
        if empty {
            argument.env(clap::builder::Resettable::Reset)
        } else {
            argument
        }
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, without_empty_variables)
    })
}

/// A duration as people write it: `250ms`, `10s`, `5m`, `24h`, `7d`. A number needs its unit.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number
        .parse()
        .map_err(|_| "a duration starts with a number, such as 10s".to_owned())?;
    let ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a duration ends in ms, s, m, h or d".to_owned()),
    };
    number
        .checked_mul(ms)
        .map(std::time::Duration::from_millis)
        .ok_or_else(|| "a duration that long has no meaning".to_owned())
}

/// As [`duration`], for settings that mean never, always or at once when they are nothing at all.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn duration_above_zero(text: &str) -> Result<std::time::Duration, String> {
    match duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than 0".to_owned()),
        duration => duration,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[derive(clap::Args, Debug)]
    struct Example {
        #[arg(long, default_value_t = 9090)]
        metrics_port: u16,
        #[arg(long)]
        must: String,
        #[arg(long, value_delimiter = ',')]
        origins: Vec<String>,
        #[arg(long)]
        quiet: bool,
        #[arg(long, hide_env_values = true)]
        password: Option<crate::Secret>,
    }

    fn parse(file: &str, arguments: &[&str]) -> Result<Example, String> {
        let command = Example::augment_args(Command::new("example"));
        let command = with_text(command, file)?;
        let matches = command
            .try_get_matches_from(std::iter::once(&"example").chain(arguments))
            .map_err(|error| error.to_string())?;
        Example::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_is_stronger_than_the_file_and_the_file_than_the_default() {
        let file = "metrics-port = 1\nmust = \"x\"\norigins = [\"a\", \"b\"]\nquiet = true";
        let example = parse(file, &[]).unwrap();
        assert_eq!(example.metrics_port, 1);
        assert_eq!(example.origins, ["a", "b"]);
        assert!(example.quiet);
        let example = parse(file, &["--metrics-port", "2", "--must", "y"]).unwrap();
        assert_eq!((example.metrics_port, example.must.as_str()), (2, "y"));
    }

    #[test]
    fn a_misspelt_name_in_the_file_is_refused() {
        let error = parse("metric_port = 1", &["--must", "y"]).unwrap_err();
        assert_eq!(error, "no setting is called \"metric-port\"");
    }

    #[test]
    fn a_secret_of_the_file_is_not_shown_by_help() {
        let help = parse("password = \"hunter2\"", &["--help"]).unwrap_err();
        assert!(
            help.contains("--password") && !help.contains("hunter2"),
            "{help}"
        );
    }

    #[test]
    fn a_broken_file_is_told_by_line_and_not_quoted() {
        let error = parse("must = \"x\"\npassword = hunter2", &[]).unwrap_err();
        assert!(
            error.starts_with("line 2:") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn durations_carry_their_unit() {
        use std::time::Duration;
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration("10").is_err() && duration("s").is_err());
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration_above_zero("0s").is_err() && duration_above_zero("0").is_err());
        assert_eq!(duration_above_zero("1ms"), Ok(Duration::from_millis(1)));
    }

    #[test]
    fn the_file_is_found_before_anything_is_parsed() {
        let arguments: Vec<OsString> = ["x", "--config", "a.toml"].map(OsString::from).to_vec();
        assert_eq!(file_named(&arguments, "UNSET_HERE"), Some("a.toml".into()));
        let arguments: Vec<OsString> = ["x", "--config=b.toml"].map(OsString::from).to_vec();
        assert_eq!(file_named(&arguments, "UNSET_HERE"), Some("b.toml".into()));
        assert_eq!(file_named(&[], "UNSET_HERE"), None);
    }
}
