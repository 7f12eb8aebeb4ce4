//! Ctrl-C and SIGTERM: the sitting ends in order, so that nothing that it started stays behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Takes the signals over. They are not blocked: what is started from here would inherit that.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let Ok(mut terminate) = signal(SignalKind::terminate()) else {
                    return;
                };
                tokio::select! {
                    _ = ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                ASKED.store(true, Ordering::Relaxed);
            });
        })?;
    Ok(())
}

/// An error once somebody has asked to stop.
pub(crate) fn check() -> anyhow::Result<()> {
    anyhow::ensure!(!ASKED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
