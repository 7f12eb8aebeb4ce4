//! [`Gateway`]: the one way in for publishes, whatever they came over.

use std::sync::Arc;

use broker::{Log, Pins};
use protocol::access::Namespaces;
use protocol::client::Publish;
use protocol::{Cursors, Identity, ProtocolError};
use schemas::Topics;
use service::{Health, Metrics, Shutdown};
use store::Store;

use crate::{IngestConfig, Published};

/// Called exactly once with what became of a publish. Must not block: it runs where the log's answers are
/// taken in.
pub type Reply = Box<dyn FnOnce(Result<Published, ProtocolError>) + Send>;

/// What a gateway works with.
#[derive(Debug)]
pub struct Parts {
    /// Where records go.
    pub log: Log,
    /// The names of the topics.
    pub topics: Topics,
    /// What the topics must be (D2).
    pub pins: Pins,
    /// Makes the cursors of the answers.
    pub cursors: Cursors,
    /// Which namespaces there are, and who may publish in them.
    pub namespaces: Namespaces,
    /// Where the outboxes' states are looked up; without one the log is read from its beginning.
    pub store: Option<Store>,
    /// Where this gateway counts.
    pub metrics: Metrics,
    /// Where this gateway reports.
    pub health: Health,
    /// When to stop; the gateway's tasks are its tasks.
    pub shutdown: Shutdown,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A topic that publishes go to was not pinned; pin all of them first.
    #[error("topic {0} is not pinned")]
    NotPinned(String),
}

/// Takes publishes and answers them. Clones are the same gateway.
#[derive(Clone, Debug)]
pub struct Gateway;

impl Gateway {
    /// Starts one sender per partition of the durable topics, and the task that watches the pins.
    ///
    /// The pins are compared with the log before this returns. A topic that differs does not fail the
    /// start: every publish is then refused with `UNAVAILABLE`, and health and metrics say why.
    ///
    /// # Errors
    /// [`StartError::NotPinned`].
    pub async fn start(config: IngestConfig, parts: Parts) -> Result<Gateway, StartError> {
        let _ = (config, parts);
        todo!()
    }

    /// Takes a publish and returns; `reply` hears later, or at once when it is refused at the door.
    ///
    /// Never blocks. Acknowledgements of one outbox come in the order of the calls; a refusal at the door
    /// does not wait for them.
    pub fn submit(&self, who: &Arc<Identity>, publish: Publish, reply: Reply) {
        let _ = (who, publish, reply);
        todo!()
    }

    /// As [`Gateway::submit`], awaited. Dropping the future does not take the publish back.
    ///
    /// # Errors
    /// As the protocol has them: see section 8.
    pub async fn publish(
        &self,
        who: &Arc<Identity>,
        publish: Publish,
    ) -> Result<Published, ProtocolError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.submit(
            who,
            publish,
            Box::new(move |result| {
                let _ = answer.send(result);
            }),
        );
        answered.await.unwrap_or_else(|_| Err(ProtocolError::timeout()))
    }
}
