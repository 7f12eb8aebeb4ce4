//! What a measurement has to say about where it was taken.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::peers;

/// Machine, versions and commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, and how many.
    pub processor: String,
    /// Memory, GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Of the checkout that was built; with `+` when it had changes.
    pub commit: String,
    /// `rustc --version`.
    pub rustc: String,
    /// When, RFC 3339 without the time of day.
    pub date: String,
    /// The peers that are installed, and their versions.
    #[serde(default)]
    pub peers: BTreeMap<String, String>,
}

impl Machine {
    /// Looks around.
    pub fn look() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let names = cpuinfo
            .lines()
            .filter(|line| line.starts_with("model name"));
        let name = names
            .clone()
            .next()
            .and_then(|line| line.split(": ").nth(1));
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib: u64 = meminfo
            .lines()
            .next()
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or_default();
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        Machine {
            processor: format!("{} × {}", names.count(), name.unwrap_or("unknown")),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: said("uname", &["-r"]),
            commit: if changed { commit + "+" } else { commit },
            rustc: said("rustc", &["--version"]),
            date: said("date", &["-u", "+%F"]),
            peers: peers::versions(),
        }
    }
}

/// What a program prints; nothing when it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}
