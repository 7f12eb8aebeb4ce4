//! What the files of a log weigh, and what the kernel says of this process.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Room that the files below `dir` take.
pub(super) fn disk_bytes(dir: &Path) -> anyhow::Result<u64> {
    each_file(dir, &mut |path| Ok(fs::metadata(path)?.blocks() * 512))
}

/// Lets the kernel forget what it holds of these files, so that the next start reads the disk.
pub(super) fn forget(dir: &Path) -> anyhow::Result<()> {
    each_file(dir, &mut |path| {
        let file = File::open(path)?;
        file.sync_all()?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(0)
    })?;
    Ok(())
}

/// The sum of what `each` says of every file below `dir`.
fn each_file(
    dir: &Path,
    each: &mut impl FnMut(&PathBuf) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        sum += if path.is_dir() {
            each_file(&path, each)?
        } else {
            each(&path)?
        };
    }
    Ok(sum)
}

/// Bytes that this process has had written to block devices so far.
pub(super) fn written_bytes() -> anyhow::Result<u64> {
    field("/proc/self/io", "write_bytes")
}

/// The most memory this process ever had.
pub(super) fn peak_bytes() -> anyhow::Result<u64> {
    Ok(field("/proc/self/status", "VmHWM")? * 1024)
}

fn field(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let value = lines.filter(|(field, _)| *field == name).map(|(_, v)| v);
    let value = value.flat_map(str::split_whitespace).next();
    let value = value.with_context(|| format!("{file} has no {name}"))?;
    Ok(value.parse()?)
}
