//! Whether this process lives, and whether it should get work: a report that cannot lie by being forgotten.
//!
//! Every part reports on itself and must do so again within its deadline; silence counts as failing. A
//! [`Latch`] keeps the process unready until a part of the start-up is done, and one that is dropped
//! without being opened keeps it unready for good.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The health of one process. Clones are the same report.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    service: &'static str,
    started: Instant,
    draining: AtomicBool,
    parts: Mutex<Vec<Arc<Part>>>,
}

struct Part {
    name: String,
    role: Role,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum Role {
    /// Counts for readiness; must report again within the duration.
    Ready(Duration),
    /// Counts for liveness and readiness.
    Live(Duration),
    /// Counts for readiness until opened.
    Latch,
    /// Said aloud, counts for nothing: a dependency this process can do without for a while.
    Told(Duration),
}

struct State {
    ok: bool,
    /// What is wrong keeps it from no work.
    limps: bool,
    reason: String,
    at: Instant,
}

impl Health {
    /// A report with no parts: alive and ready.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Health(Arc::new(Inner {
            service,
            started: Instant::now(),
            draining: AtomicBool::new(false),
            parts: Mutex::default(),
        }))
    }

    /// A part without which this process should get no work. It is failing until its first
    /// [`Component::ok`], and again whenever it has said nothing for longer than `deadline`.
    pub fn component(&self, name: impl Into<String>, deadline: Duration) -> Component {
        self.add(name.into(), Role::Ready(deadline))
    }

    /// A loop whose silence for longer than `deadline` means that the process should be restarted. It has
    /// one `deadline` from now for its first report.
    pub fn heartbeat(&self, name: impl Into<String>, deadline: Duration) -> Component {
        let component = self.add(name.into(), Role::Live(deadline));
        component.ok();
        component
    }

    /// A part that is shown and that nothing depends on, such as history while the database is away.
    pub fn told(&self, name: impl Into<String>, deadline: Duration) -> Component {
        self.add(name.into(), Role::Told(deadline))
    }

    /// Keeps the process unready until [`Latch::open`].
    pub fn latch(&self, name: impl Into<String>) -> Latch {
        Latch(self.add(name.into(), Role::Latch))
    }

    /// From now on not ready: the process is on its way out.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// True after [`Health::drain`].
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Whether the process should go on living.
    #[must_use]
    pub fn live(&self) -> Report {
        self.report(true, Instant::now())
    }

    /// Whether the process should get work.
    #[must_use]
    pub fn ready(&self) -> Report {
        self.report(false, Instant::now())
    }

    fn add(&self, name: String, role: Role) -> Component {
        let part = Arc::new(Part {
            name,
            role,
            state: Mutex::new(State {
                ok: false,
                limps: false,
                reason: "has not reported yet".to_owned(),
                at: Instant::now(),
            }),
        });
        self.parts().push(Arc::clone(&part));
        Component(part)
    }

    fn report(&self, live: bool, now: Instant) -> Report {
        let components: Vec<Said> = self
            .parts()
            .iter()
            .filter(|part| !live || matches!(part.role, Role::Live(_)))
            .map(|part| part.said(now))
            .collect();
        let failing = components.iter().any(|said| !said.ok && said.counts);
        let draining = !live && self.is_draining();
        Report {
            ok: !failing && !draining,
            status: match (draining, failing) {
                (true, _) => "draining",
                (_, true) => "failing",
                _ => "ok",
            },
            service: self.0.service,
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: millis(now - self.0.started),
            components,
        }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Part>>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Health({}: {})", self.0.service, self.ready().status)
    }
}

/// One part's own say. Dropping it leaves the last word standing until its deadline passes.
#[derive(Clone)]
pub struct Component(Arc<Part>);

impl Component {
    /// The part works.
    pub fn ok(&self) {
        self.0.set(true, false, String::new());
    }

    /// The part does not work. `reason` is shown on the metrics port only; it names no secret.
    pub fn failing(&self, reason: impl Into<String>) {
        self.0.set(false, false, reason.into());
    }

    /// Something is wrong with the part, and it works all the same: shown as not ok, and counts for nothing.
    pub fn limping(&self, reason: impl Into<String>) {
        self.0.set(false, true, reason.into());
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Component({})", self.0.name)
    }
}

/// Keeps a process unready; see [`Health::latch`].
#[must_use = "a latch that is dropped without being opened keeps the process unready for good"]
#[derive(Debug)]
pub struct Latch(Component);

impl Latch {
    /// This part of the start-up is done.
    pub fn open(self) {
        self.0.ok();
    }
}

impl Part {
    fn set(&self, ok: bool, limps: bool, reason: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State {
            ok,
            limps,
            reason,
            at: Instant::now(),
        };
    }

    fn said(&self, now: Instant) -> Said {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now - state.at;
        let silent = match self.role {
            Role::Ready(deadline) | Role::Live(deadline) | Role::Told(deadline) => age > deadline,
            Role::Latch => false,
        };
        let reason = if state.ok && silent {
            Some(format!("has said nothing for {} ms", millis(age)))
        } else if state.ok {
            None
        } else {
            Some(state.reason.clone())
        };
        Said {
            name: self.name.clone(),
            ok: state.ok && !silent,
            counts: (silent || !state.limps) && !matches!(self.role, Role::Told(_)),
            age_ms: millis(age),
            reason,
        }
    }
}

/// What `/livez`, `/readyz` and `/health` answer on the metrics port.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// True: answer 200; false: answer 503.
    #[serde(skip)]
    pub ok: bool,
    /// `ok`, `failing` or `draining`.
    pub status: &'static str,
    /// The name given to [`Health::new`].
    pub service: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// Milliseconds since start.
    pub uptime_ms: u64,
    /// Every part that counts here.
    pub components: Vec<Said>,
}

/// One part of a [`Report`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// The part's name.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// Whether its failing makes the process unready.
    #[serde(skip)]
    pub counts: bool,
    /// Milliseconds since it last reported.
    pub age_ms: u64,
    /// Why it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_component_is_a_failing_one() {
        let health = Health::new("test");
        assert!(health.ready().ok);
        let log = health.component("log", Duration::from_secs(5));
        assert!(!health.ready().ok, "nothing reported yet");
        log.ok();
        assert!(health.ready().ok);
        let later = Instant::now() + Duration::from_secs(6);
        assert!(!health.report(false, later).ok, "silent for too long");
        assert!(health.report(true, later).ok, "readiness is not liveness");
        log.ok();
        log.failing("no leader");
        assert_eq!(
            health.ready().components[0].reason.as_deref(),
            Some("no leader")
        );
    }

    #[test]
    fn a_heartbeat_that_stops_is_death() {
        let health = Health::new("test");
        let reader = health.heartbeat("reader", Duration::from_secs(30));
        assert!(health.live().ok);
        let later = Instant::now() + Duration::from_secs(31);
        assert!(!health.report(true, later).ok);
        reader.failing("stuck");
        assert!(!health.live().ok);
        reader.ok();
        assert!(health.live().ok);
    }

    #[test]
    fn a_forgotten_latch_keeps_the_process_unready() {
        let health = Health::new("test");
        let topics = health.latch("topics");
        let pins = health.latch("pins");
        topics.open();
        assert!(!health.ready().ok);
        drop(pins);
        assert!(!health.ready().ok);
    }

    #[test]
    fn draining_is_unready_and_alive() {
        let health = Health::new("test");
        health.drain();
        assert_eq!(health.ready().status, "draining");
        assert!(!health.ready().ok && health.live().ok);
    }

    #[test]
    fn what_limps_is_shown_and_counts_again_when_it_fails_or_falls_silent() {
        let health = Health::new("test");
        let topics = health.component("topics", Duration::from_secs(5));
        topics.limping("more partitions");
        let report = health.ready();
        assert!(report.ok && !report.components[0].ok);
        assert_eq!(
            report.components[0].reason.as_deref(),
            Some("more partitions")
        );
        let later = Instant::now() + Duration::from_secs(6);
        assert!(!health.report(false, later).ok);
        topics.failing("gone");
        assert!(!health.ready().ok);
    }

    #[test]
    fn what_is_only_told_does_not_count() {
        let health = Health::new("test");
        let store = health.told("history", Duration::from_secs(5));
        store.failing("away");
        assert!(health.ready().ok);
        assert!(!health.ready().components[0].ok);
    }
}
