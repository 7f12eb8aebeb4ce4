//! One sitting at a time on a machine: two would measure each other.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Held while it lives, at the longest as long as the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it. An error that names who has it otherwise.
    pub(crate) fn take() -> anyhow::Result<Lock> {
        Lock::of(&std::env::temp_dir().join("rivermouth-bench.lock"))
    }

    fn of(path: &Path) -> anyhow::Result<Lock> {
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = opened.with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                bail!(
                    "another benchmark runs on this machine (pid {}), and two would measure each other: {} is locked",
                    holder.trim(),
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Lock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::of(&path).unwrap();
        let error = Lock::of(&path).unwrap_err().to_string();
        let holder = format!("pid {}", std::process::id());
        assert!(error.contains(&holder), "{error}");
        drop(first);
        // A process that another test is just starting holds what was open here until it runs.
        let freed = Instant::now();
        while Lock::of(&path).is_err() {
            assert!(freed.elapsed() < Duration::from_secs(60), "still locked");
            std::thread::yield_now();
        }
    }
}
