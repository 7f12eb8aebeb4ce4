//! Clients and backends. Each has a [`Desk`], keeps a book, and gives it back when the run is over.

mod archive;
mod backend;
mod cast;
mod gate;
mod hostile;
mod manner;
mod notebook;
mod pages;
pub mod probe;
mod publisher;
mod served;
mod socket;
mod source;
mod states;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use client::Endpoint;
use testbed::Random;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::evidence::{Clock, Names};
use crate::workload::any;
use crate::world::World;

pub use cast::{Cast, Part, Troupe, start};
pub(crate) use gate::Outcome;
pub(crate) use publisher::noted;
pub use served::{Served, served};

/// How far the run is. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everybody does what they do, and so do the faults.
    Storm,
    /// The world has healed. Publishers finish what they have begun and begin nothing.
    Calm,
    /// The last event is in every channel. Readers read up to it and make no more trouble.
    Ebb,
    /// Time is up: whoever is not done says so and goes.
    Over,
}

/// What every actor has.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The time.
    pub clock: Clock,
    /// Names as numbers.
    pub names: Arc<Names>,
    /// Where everything is.
    pub world: Arc<World>,
    /// How far the run is.
    pub phase: watch::Receiver<Phase>,
}

impl Desk {
    /// How far the run is.
    pub fn now(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the run is that far. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let mut seen = self.phase.clone();
        // The director holds the other end until everybody is home.
        let _ = seen.wait_for(|now| *now >= phase).await;
    }

    /// Waits that long, or until the run is that far. True when it is.
    pub async fn rest(&self, time: Duration, phase: Phase) -> bool {
        timeout(time, self.reached(phase)).await.is_ok()
    }

    /// Any fan-out node.
    pub fn reader_door(&self, random: &mut Random) -> Endpoint {
        any(random, &self.world.fanout).endpoint.clone()
    }

    /// Any node that takes publishes over HTTP.
    pub fn http_door(&self, random: &mut Random) -> Endpoint {
        let (ingest, fanout) = (&self.world.ingest, &self.world.fanout);
        match random.below(3) {
            0 => any(random, fanout).endpoint.clone(),
            _ => any(random, ingest).endpoint.clone(),
        }
    }
}

/// Between two attempts: long enough not to spin, short enough to be there at once.
pub(crate) async fn pause(random: &mut Random) {
    sleep(Duration::from_millis(50 + random.below(400))).await;
}
