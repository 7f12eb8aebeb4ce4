//! Memory of a process, and the kernel's for its sockets.

use std::fs;

use anyhow::Context as _;

/// Memory that a process alone has touched, in KiB: what it would give back if it ended.
pub fn private_kib(pid: i32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let private = text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(private.sum())
}

/// The kernel's memory that is not any process's pages. It belongs to both ends of every loopback connection.
#[derive(Debug, Clone, Copy)]
pub struct Slab {
    /// KiB of slab of the whole machine.
    pub kib: u64,
}

impl Slab {
    /// Reads it.
    pub fn now() -> anyhow::Result<Slab> {
        let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
        let kib = text
            .lines()
            .find(|line| line.starts_with("Slab:"))
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .context("/proc/meminfo names no slab")?;
        Ok(Slab { kib })
    }
}
