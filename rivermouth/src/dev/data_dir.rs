//! The directory that outlives a run of `dev`: the log, the private database, the secret, a ready token.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::Uid;
use service::Secret;

/// Below the directory where `dev` was started.
pub(crate) const DEFAULT: &str = ".dev";

/// An existing data directory that no other process uses. The lock goes with the value.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and takes it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        // Root's is passable (not readable) for others: its PostgreSQL runs as another user below it.
        // What is secret inside has its own mode.
        let mode = if Uid::effective().is_root() {
            0o711
        } else {
            0o700
        };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .with_context(|| format!("making the data directory {}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .with_context(|| format!("{} cannot be written to", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another `rivermouth dev` is running on {}; stop it, or give this one its own --data-dir",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Its full name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the embedded log lies.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where a ready token lies, for `$(cat …)` and for our own commands.
    pub(crate) fn token_file(&self) -> PathBuf {
        token_file(&self.path)
    }

    /// The secret of this installation, made at the first start.
    pub(crate) fn secret(&self) -> anyhow::Result<Secret> {
        if let Some(secret) = Self::existing_secret(&self.path) {
            return Ok(secret);
        }
        let secret = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        write_private(&secret_file(&self.path), &secret)?;
        Ok(Secret::new(secret))
    }

    /// Keeps a token for others to use.
    pub(crate) fn keep_token(&self, token: &str) -> anyhow::Result<()> {
        write_private(&self.token_file(), token)
    }

    /// The secret that an earlier `dev` left in `path`.
    pub(crate) fn existing_secret(path: &Path) -> Option<Secret> {
        read(&secret_file(path)).map(Secret::new)
    }

    /// The token that `dev` left in `path`.
    pub(crate) fn existing_token(path: &Path) -> Option<String> {
        read(&token_file(path))
    }
}

fn secret_file(path: &Path) -> PathBuf {
    path.join("jwt-secret")
}

fn token_file(path: &Path) -> PathBuf {
    path.join("token")
}

fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Writes beside and renames, so that a reader sees the old text or the new one.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(|| format!("writing {}", fresh.display()))?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&fresh, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_secret_is_made_once_kept_private_and_found_again() {
        let path = std::env::temp_dir().join(format!("data-{}", uuid::Uuid::new_v4()));
        let first = {
            let data = DataDir::open(&path).unwrap();
            assert!(DataDir::open(&path).is_err(), "taken");
            data.secret().unwrap()
        };
        assert_eq!(first.len(), 64);
        let mode = std::fs::metadata(path.join("jwt-secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.secret().unwrap(), first);
        std::fs::remove_dir_all(path).unwrap();
    }
}
