//! How a reader behaves, whatever it reads over.

use std::time::Duration;

use testbed::Random;
use tokio::time::Instant;

use super::{Desk, Phase};
use crate::workload::index;

/// How a reader behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// It takes so long over each message.
    pub(super) slow: Option<Duration>,
    /// It stops reading for so long at times, most of all.
    pub(super) stuck: Option<Duration>,
    /// It goes elsewhere by itself after about so long.
    pub(super) hop: Option<Duration>,
    /// It acknowledges every so many events.
    pub(super) ack_every: Option<u32>,
    /// It acknowledges what it has so long after the first of it came, and reads on meanwhile.
    pub(super) ack_after: Option<Duration>,
}

impl Manner {
    /// When a connection that begins now is left.
    pub(super) fn time_to_leave(&self, random: &mut Random) -> Instant {
        let stay = match self.hop {
            Some(hop) => hop / 4 + hop.mul_f64(random.below(1500) as f64 / 1000.0),
            None => Duration::from_secs(24 * 3600),
        };
        Instant::now() + stay
    }

    /// Takes its time over a message.
    pub(super) async fn dawdle(&self, desk: &Desk, random: &mut Random) {
        if let Some(slow) = self.slow {
            desk.rest(slow, Phase::Calm).await;
        }
        if let Some(stuck) = self.stuck
            && desk.now() == Phase::Storm
            && index(random, 400) == 0
        {
            desk.rest(stuck, Phase::Calm).await;
        }
    }
}
