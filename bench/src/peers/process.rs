//! Processes of others: found, started, waited for, and ended.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine::{Pinned, SERVER_CPU};

/// How long a server may take until it is ready.
const READY: Duration = Duration::from_secs(20);
/// How long it may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// A process whose output goes to a file; it ends with this value.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it where the calling thread runs.
    pub(super) fn beside(
        name: &'static str,
        command: &mut Command,
        dir: &Path,
    ) -> anyhow::Result<Process> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Process { name, child, log })
    }

    /// Starts it on the processor of the servers under test.
    pub(super) fn measured(
        name: &'static str,
        command: &mut Command,
        dir: &Path,
    ) -> anyhow::Result<Process> {
        let pinned = Pinned::to(SERVER_CPU)?;
        let process = Process::beside(name, command, dir);
        drop(pinned);
        process
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Everything it printed so far.
    pub(super) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks again and again until there is an answer; what it printed is the error when there will be none.
    pub(super) fn until<T>(
        &mut self,
        mut ask: impl FnMut(&Process) -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + READY;
        loop {
            if let Some(answer) = ask(self) {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.name, self.output().trim());
            }
            if Instant::now() > end {
                let name = self.name;
                bail!(
                    "{name} is not ready after {READY:?}: {}",
                    self.output().trim()
                );
            }
            sleep(LOOK);
        }
    }

    /// Waits until somebody listens there.
    pub(super) fn until_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        self.until(|_| TcpStream::connect(address).ok().map(drop))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has processes of its own can only end them when it is asked.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let end = Instant::now() + ENDING;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is that `scripts/peers.sh` installs.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are where only root looks.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| missing(name))
}

/// What to do about something that is not there.
pub(super) fn missing(what: &str) -> String {
    format!("{what} is not installed: `scripts/peers.sh` installs what the peers need")
}

/// A port of the loopback that nobody listens on. Whoever takes it first has it.
pub(super) fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_installed_names_the_script() {
        let error = program("no-such-server").unwrap_err().to_string();
        assert!(error.contains("scripts/peers.sh"), "{error}");
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such setting >&2; exit 3"]);
        let mut process = Process::beside("sh", &mut command, dir.path()).unwrap();
        let error = process.until(|_| None::<()>).unwrap_err().to_string();
        assert!(error.contains("no such setting"), "{error}");
    }

    #[test]
    fn a_process_ends_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let process =
            Process::beside("sleep", Command::new("sleep").arg("600"), dir.path()).unwrap();
        let pid = Pid::from_raw(process.pid());
        assert!(kill(pid, None).is_ok());
        drop(process);
        assert!(kill(pid, None).is_err());
    }
}
