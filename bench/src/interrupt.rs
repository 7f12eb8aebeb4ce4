//! Ctrl-C and SIGTERM: the sitting ends in order, so that nothing that it started stays behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Takes the signals over. To be called before anything else is started: threads inherit it.
pub(crate) fn watch() -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                ASKED.store(true, Ordering::Relaxed);
                eprintln!("stopping");
            }
        })?;
    Ok(())
}

/// An error once somebody has asked to stop.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!ASKED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
