//! What the process's exit status means, and where it is decided.

use std::process::ExitCode;

use service::settings::SettingsError;

/// Bad arguments or settings: nothing was started, no port was bound (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// It started and failed, or did not stop by the deadline.
pub(crate) const FAILED: u8 = 1;

/// Tells the person why and chooses the status.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("rivermouth: {error:#}");
    if error.is::<SettingsError>() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::from(FAILED)
    }
}
