//! Every setting of every service: flag, environment variable, name in the settings file, unit, default.
//!
//! The structs here are what a person writes; each has a method that turns it into what the code uses and
//! refuses what cannot be. All of that happens before a port is bound or a connection opened, and ends in
//! exit code 64 with a sentence.

pub(crate) mod auth;
pub(crate) mod kafka;
mod limits;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod public;

/// A setting that cannot be, by the name of its flag.
pub(crate) use service::settings::SettingsError;

/// Reads a secret from a file: the text without the line break that editors add.
pub(crate) fn secret_from_file(
    name: &'static str,
    path: &std::path::Path,
) -> Result<service::Secret, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError::value(name, format!("{}: {error}", path.display())))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(SettingsError::value(
            name,
            format!("{} is empty", path.display()),
        ));
    }
    Ok(service::Secret::new(text))
}
