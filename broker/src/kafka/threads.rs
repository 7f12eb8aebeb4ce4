//! Threads for calls that block. One that is done waits a while for the next call: to make one anew costs more than most
//! of the calls, and a call that hangs holds up nobody but itself.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// How long a thread waits for its next call before it ends.
const KEPT: Duration = Duration::from_secs(5);

type Call = Box<dyn FnOnce() + Send>;

/// As many threads as calls run at once, which callers bound. Those that wait end when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Threads {
    name: &'static str,
    idle: Arc<Idle>,
}

/// The threads that wait, and the doors to them.
#[derive(Default)]
struct Idle(Mutex<Vec<(ThreadId, SyncSender<Call>)>>);

impl Threads {
    pub(crate) fn new(name: &'static str) -> Threads {
        Threads {
            name,
            idle: Arc::default(),
        }
    }

    /// Runs `call` on a thread that nobody else uses meanwhile.
    pub(crate) fn run(&self, call: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut call: Call = Box::new(call);
        // Who waited last is the one that is still warm.
        while let Some(door) = self.idle.pop() {
            match door.send(call) {
                Ok(()) => return Ok(()),
                Err(back) => call = back.0,
            }
        }
        let idle = Arc::downgrade(&self.idle);
        let thread = thread::Builder::new().name(self.name.into());
        thread.spawn(move || {
            let mut next = Some(call);
            while let Some(call) = next {
                call();
                next = wait(&idle);
            }
        })?;
        Ok(())
    }
}

/// Waits for this thread's next call; `None` when there is none for long, or when nobody can call any more.
fn wait(idle: &Weak<Idle>) -> Option<Call> {
    // One call: the door is taken by who calls.
    let (door, calls) = sync_channel(1);
    let me = thread::current().id();
    idle.upgrade()?.lock().push((me, door));
    match calls.recv_timeout(KEPT) {
        Ok(call) => Some(call),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            idle.upgrade()?.lock().retain(|(thread, _)| *thread != me);
            // Whoever took the door just before sends through it, or has dropped it.
            calls.recv().ok()
        }
    }
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<(ThreadId, SyncSender<Call>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<SyncSender<Call>> {
        Some(self.lock().pop()?.1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The thread that a call ran on, once that waits again.
    fn ran_on(threads: &Threads) -> ThreadId {
        let (tell, told) = sync_channel(1);
        threads
            .run(move || tell.send(thread::current().id()).unwrap())
            .unwrap();
        let ran = told.recv().unwrap();
        while !threads.idle.lock().iter().any(|(thread, _)| *thread == ran) {
            thread::yield_now();
        }
        ran
    }

    #[test]
    fn calls_one_after_the_other_share_a_thread() {
        let threads = Threads::new("test");
        let first = ran_on(&threads);
        assert_eq!(ran_on(&threads), first);
        assert_eq!(threads.idle.lock().len(), 1);
    }

    #[test]
    fn a_call_that_hangs_holds_up_no_other() {
        let threads = Threads::new("test");
        let (release, hang) = sync_channel::<()>(0);
        threads.run(move || assert!(hang.recv().is_err())).unwrap();
        ran_on(&threads);
        drop(release);
    }

    #[test]
    fn threads_that_wait_end_with_the_last_who_could_call() {
        let threads = Threads::new("test");
        ran_on(&threads);
        // It is seen to wait a moment before it lets go of what it waits in.
        let end = Instant::now() + KEPT;
        while Arc::strong_count(&threads.idle) > 1 {
            assert!(Instant::now() < end, "it holds what it waits in");
            thread::yield_now();
        }
        let waiting = threads.idle.lock().len();
        assert_eq!(waiting, 1, "it still waits, and holds nothing");
        let idle = Arc::downgrade(&threads.idle);
        drop(threads);
        assert!(idle.upgrade().is_none());
        assert!(wait(&idle).is_none());
    }
}
