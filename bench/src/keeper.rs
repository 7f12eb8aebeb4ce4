//! Who stays behind a sitting: the process that was called starts the sitting as another one and waits for it.
//!
//! However the sitting ends, what it leaves behind becomes the keeper's child and is killed: the servers under test,
//! PostgreSQL, and the brokers, which a script starts that ends. And however the keeper ends, the sitting is told to
//! stop.

use std::process::{Command, ExitCode};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::machine::children_of;

/// The command of the sitting's process.
const SITTING: &str = "sit";

/// Has the sitting done by another process, with the arguments that this one has; how it ended.
pub fn keep() -> anyhow::Result<ExitCode> {
    set_child_subreaper(true).context("adopting what a sitting leaves behind")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(sitting())?;
    end_all()?;
    Ok(ExitCode::from(code))
}

/// In the sitting's process: the end of its keeper is a wish to stop.
pub fn kept() -> anyhow::Result<()> {
    set_pdeathsig(Signal::SIGTERM).context("asking to be told of the keeper's end")
}

async fn sitting() -> anyhow::Result<u8> {
    let mut ended = signal(SignalKind::child())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let child = Command::new(std::env::current_exe()?)
        .arg(SITTING)
        .args(std::env::args_os().skip(2))
        .spawn()
        .context("starting the sitting")?;
    let child = Pid::from_raw(child.id().cast_signed());
    let mut asked = false;
    loop {
        tokio::select! {
            _ = ended.recv() => {
                if let Some(code) = collect(child)? {
                    return Ok(code);
                }
                continue;
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if std::mem::replace(&mut asked, true) {
            kill(child, Signal::SIGKILL)?;
        } else {
            eprintln!("stopping when this measurement is over; asked again, at once");
            kill(child, Signal::SIGTERM)?;
        }
    }
}

/// Collects children that have ended; the sitting's code when it is among them.
fn collect(sitting: Pid) -> anyhow::Result<Option<u8>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == sitting => {
                return Ok(Some(u8::try_from(code).unwrap_or(1)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == sitting => {
                eprintln!("rivermouth-bench: the sitting ended by {signal}");
                return Ok(Some(1));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the sitting"),
        }
    }
}

/// Kills what is left, and what is left of that.
fn end_all() -> anyhow::Result<()> {
    loop {
        let left = children_of(Pid::this().as_raw())?;
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            let pid = Pid::from_raw(pid);
            // It may have ended by itself.
            let _ = kill(pid, Signal::SIGKILL);
            waitpid(pid, None).context("waiting for what the sitting left behind")?;
        }
    }
}
