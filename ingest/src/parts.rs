//! What a gateway is given at its start.

use broker::{Log, PinWatch, Pins};
use protocol::Cursors;
use protocol::access::Namespaces;
use schemas::Topics;
use service::{Metrics, Shutdown};
use store::Store;

/// What a gateway works with.
#[derive(Debug)]
pub struct Parts {
    /// Where records go.
    pub log: Log,
    /// The names of the topics.
    pub topics: Topics,
    /// What the topics must be (D2).
    pub pins: Pins,
    /// Whether they are; somebody runs it.
    pub watch: PinWatch,
    /// Makes the cursors of the answers.
    pub cursors: Cursors,
    /// Which namespaces there are, and who may publish in them.
    pub namespaces: Namespaces,
    /// Where the outboxes' states are looked up; without one the log is read from its beginning.
    pub store: Option<Store>,
    /// Where this gateway counts.
    pub metrics: Metrics,
    /// When to stop; the gateway's tasks are its tasks.
    pub shutdown: Shutdown,
}
