//! The client that questions are asked with, a few at a time; a new one when it answers nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout_at;

use super::config::KafkaConfig;
use super::context::Context;
use super::cure::Cure;
use super::threads::Threads;
use crate::BrokerError;

/// Questions in flight at a time; more wait in line, within their own deadline.
const AT_ONCE: usize = 16;
/// A client may answer nothing for this long.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Asking {
    config: KafkaConfig,
    state: Mutex<State>,
    /// One clone for each client that has not ended.
    alive: Arc<()>,
}

struct State {
    client: Arc<Client>,
    /// Questions to the leader of a partition.
    leaders: Cure,
    /// Questions that any broker can answer: they go on when one broker cannot be reached.
    anybody: Cure,
}

/// One client of librdkafka. Ends on a thread of its own: that joins threads, which may hang.
pub(crate) struct Client {
    /// `None` only while dropping.
    consumer: Option<(BaseConsumer<Context>, Arc<()>)>,
    /// Its own, so that questions that hang do not keep a new client from work.
    permits: Arc<Semaphore>,
    /// As many as there are permits.
    threads: Threads,
}

impl Asking {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Asking, BrokerError> {
        let alive = Arc::default();
        Ok(Asking {
            state: Mutex::new(State {
                client: Arc::new(Client::new(config, &alive)?),
                leaders: Cure::new(PATIENCE),
                anybody: Cure::new(PATIENCE),
            }),
            config: config.clone(),
            alive,
        })
    }

    /// Runs `ask` on a thread with the present client, and says which that was. `None`: there was no answer by
    /// the deadline.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        ask: impl FnOnce(&BaseConsumer<Context>) -> T + Send + 'static,
    ) -> (Arc<Client>, Option<T>) {
        let client = Arc::clone(&self.state().client);
        let answer = client.run(ask);
        let answer = timeout_at(deadline.into(), answer).await;
        (client, answer.ok().flatten())
    }

    /// Learns whether a question was answered; a client that answers none is replaced.
    pub(crate) fn learn(
        &self,
        client: &Arc<Client>,
        (topic, partition): (&str, i32),
        answered: bool,
        now: Instant,
    ) {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.client, client) {
            return;
        }
        let cure = match partition {
            0.. => &mut state.leaders,
            _ => &mut state.anybody,
        };
        if answered {
            return cure.well(topic, partition);
        }
        // Ours and the one in use are not counted.
        let lingering = Arc::strong_count(&self.alive).saturating_sub(2);
        if !cure.ill(topic, partition, now, lingering) {
            return;
        }
        match Client::new(&self.config, &self.alive) {
            Ok(fresh) => {
                tracing::warn!("the kafka client for questions gets no answers and is replaced");
                state.client = Arc::new(fresh);
                state.leaders.begin();
                state.anybody.begin();
            }
            // The old one is asked on; this comes again.
            Err(error) => tracing::error!(%error, "no new kafka client"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn new(config: &KafkaConfig, alive: &Arc<()>) -> Result<Client, BrokerError> {
        let consumer = config
            .consumer()
            .create_with_context(Context)
            .map_err(|error| BrokerError::Config(error.to_string()))?;
        Ok(Client {
            consumer: Some((consumer, Arc::clone(alive))),
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            threads: Threads::new("kafka-question"),
        })
    }

    /// Not on the runtime's blocking pool: a runtime that stops would wait for a thread that hangs.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&BaseConsumer<Context>) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let (tell, answer) = oneshot::channel();
        let client = Arc::clone(self);
        let call = move || {
            let _permit = permit;
            let Some((consumer, _)) = &client.consumer else {
                return;
            };
            let _ = tell.send(ask(consumer));
            // Client-wide errors wait in this queue; nobody else empties it.
            while consumer.poll(Duration::ZERO).is_some() {}
        };
        self.threads.run(call).ok()?;
        answer.await.ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((consumer, alive)) = self.consumer.take() {
            let _ = std::thread::Builder::new()
                .name("kafka-query-close".into())
                .spawn(move || {
                    drop(consumer);
                    drop(alive);
                });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_answers_is_replaced_and_not_listened_to_any_more() {
        let asking = Asking::new(&KafkaConfig::new("127.0.0.1:1")).unwrap();
        let present = || Arc::clone(&asking.state().client);
        let (first, zero) = (present(), Instant::now());
        let learn = |client: &Arc<Client>, partition, answered, second| {
            let now = zero + Duration::from_secs(second);
            asking.learn(client, ("t", partition), answered, now);
        };
        learn(&first, 0, false, 0);
        learn(&first, -1, true, 4);
        assert!(Arc::ptr_eq(&first, &present()));
        learn(&first, 0, false, 5);
        let second = present();
        assert!(
            !Arc::ptr_eq(&first, &second),
            "what other brokers answer does not help the leader's askers"
        );
        learn(&first, 0, false, 20);
        learn(&first, 0, false, 40);
        assert!(Arc::ptr_eq(&second, &present()));
    }

    #[tokio::test]
    async fn a_question_that_hangs_keeps_nobody_waiting() {
        let asking = Asking::new(&KafkaConfig::new("127.0.0.1:1")).unwrap();
        let (hang, until) = std::sync::mpsc::sync_channel::<()>(0);
        let deadline = Instant::now() + Duration::from_millis(50);
        let (_, answer) = asking.run(deadline, move |_| until.recv().is_ok()).await;
        assert_eq!(answer, None);
        drop(hang);
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(asking.run(deadline, |_| 7).await.1, Some(7));
    }
}
