//! The ledger's questions, on their way to the log and the store, and the answers on their way back.

use schemas::Channel;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::{CATCH_UP, LOOKS_MAX, Run, Told};
use crate::lane::ledger::Question;

impl Run {
    /// Looks up what waits to be looked up, together, one question at a time.
    pub(super) fn look(&mut self) {
        let behind = self.ledger.is_catching_up() && self.looked.elapsed() < CATCH_UP;
        if self.looking || behind || self.looks.is_empty() {
            return;
        }
        self.looking = true;
        let count = self.looks.len().min(LOOKS_MAX);
        let questions: Vec<Question> = self.looks.drain(..count).collect();
        self.sender.metrics.lookups.inc_by(count as u64);
        let lookup = self.sender.lookup.clone();
        self.questions.spawn(async move {
            let channels: Vec<Channel> = questions.iter().map(|q| q.channel.clone()).collect();
            let looked = lookup.channels(&channels).await;
            Told::Looked(questions, looked)
        });
    }

    pub(super) fn head(&mut self, question: Question) {
        let lookup = self.sender.lookup.clone();
        self.questions.spawn(async move {
            let head = lookup.head().await;
            Told::Headed(question, head)
        });
    }

    pub(super) fn told(&mut self, told: Result<Told, JoinError>) {
        match told {
            Ok(Told::Looked(questions, looked)) => {
                self.looking = false;
                self.looked = Instant::now();
                match looked {
                    Some(looked) => {
                        for (question, looked) in questions.iter().zip(looked) {
                            self.ledger.looked(question, Some(looked));
                        }
                    }
                    None => {
                        self.sender
                            .metrics
                            .lookups_failed
                            .inc_by(questions.len() as u64);
                        for question in &questions {
                            self.ledger.looked(question, None);
                        }
                    }
                }
            }
            Ok(Told::Headed(question, head)) => self.ledger.headed(&question, head),
            // What waits for the answer runs into its deadline.
            Err(error) => {
                self.looking = false;
                tracing::error!(%error, "a lookup of outboxes died");
            }
        }
    }
}
