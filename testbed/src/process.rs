//! Processes that are started, watched, stopped by their pid, and never outlive their test.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::wait::within;

/// A running process whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
}

/// A process that is over.
#[derive(Debug)]
pub struct Exited {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it printed.
    pub output: String,
}

impl Process {
    /// Starts `command`, its output going to the end of `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Process {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file can be opened");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be cloned"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .expect("a fresh process has a pid");
        Process {
            name: name.to_owned(),
            child,
            pid: Pid::from_raw(pid),
            log: log.to_owned(),
        }
    }

    /// The process' number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill_9(&mut self) {
        self.signal(Signal::SIGKILL);
        within("a killed process to go", self.child.wait())
            .await
            .expect("our child can be waited for");
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait().await
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        within("a process to end", self.child.wait())
            .await
            .expect("our child can be waited for")
    }

    /// SIGSTOP: it stands still, its connections stay open.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child can be asked")
    }

    /// The last lines it printed.
    pub fn tail(&self, lines: usize) -> String {
        let Ok(file) = File::open(&self.log) else {
            return String::new();
        };
        let mut last = VecDeque::with_capacity(lines);
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            if last.len() == lines {
                last.pop_front();
            }
            last.push_back(line);
        }
        last.into_iter().map(|line| line + "\n").collect()
    }

    /// Everything it printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // A process that is gone already needs no signal.
        let _ = kill(self.pid, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "--- the end of {}'s log ---\n{}---",
                self.name,
                self.tail(25)
            );
        }
        if self.ended().is_none() {
            // A stopped process dies of SIGKILL too; the runtime collects it.
            self.signal(Signal::SIGKILL);
        }
    }
}
