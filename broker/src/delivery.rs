//! The future of one append: resolves when the log has answered for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{AppendError, Appended};

/// What became of one enqueued record. Dropping it does not take the record back.
///
/// Resolves within the delivery timeout of the log. Cancel safe: poll it again later. Needs a tokio runtime.
pub struct Delivery {
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
    limit: Option<Limit>,
}

/// The end that resolves a [`Delivery`]; when it is dropped without an answer, the outcome is unknown.
pub(crate) type Deliver = oneshot::Sender<Result<Appended, AppendError>>;

/// Is told of a delivery that should have had its answer long ago.
pub(crate) trait Overdue: Send + Sync {
    fn overdue(&self, topic: &str, partition: i32);
}

/// When a log that promised to answer in time has broken its promise.
pub(crate) struct Limit {
    pub(crate) at: Instant,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) tell: Arc<dyn Overdue>,
    /// Made when somebody has to wait.
    pub(crate) sleep: Option<Pin<Box<Sleep>>>,
}

/// A delivery and the end that resolves it.
pub(crate) fn delivery() -> (Deliver, Delivery) {
    let (sender, answer) = oneshot::channel();
    let limit = None;
    (sender, Delivery { answer, limit })
}

impl Delivery {
    /// Unknown at the limit, should there be no answer by then.
    pub(crate) fn limited(mut self, limit: Limit) -> Delivery {
        self.limit = Some(limit);
        self
    }
}

impl Future for Delivery {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer.unwrap_or(Err(AppendError::Unknown)));
        }
        let Some(limit) = &mut self.limit else {
            return Poll::Pending;
        };
        let at = limit.at;
        let sleep = limit.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        limit.tell.overdue(&limit.topic, limit.partition);
        Poll::Ready(Err(AppendError::Unknown))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.answer).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Told(AtomicBool);

    impl Overdue for Told {
        fn overdue(&self, topic: &str, partition: i32) {
            assert_eq!((topic, partition), ("t", 3));
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn limited(told: &Arc<Told>, after: Duration) -> (Deliver, Delivery) {
        let (deliver, delivery) = delivery();
        let limit = Limit {
            at: Instant::now() + after,
            topic: "t".into(),
            partition: 3,
            tell: Arc::clone(told) as Arc<dyn Overdue>,
            sleep: None,
        };
        (deliver, delivery.limited(limit))
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_unknown_at_the_limit_and_told() {
        let told = Arc::<Told>::default();
        let (_deliver, delivery) = limited(&told, Duration::from_millis(20));
        assert_eq!(delivery.await, Err(AppendError::Unknown));
        assert!(told.0.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn an_answer_in_time_is_the_answer_even_when_asked_for_late() {
        let told = Arc::<Told>::default();
        let (deliver, delivery) = limited(&told, Duration::ZERO);
        deliver.send(Err(AppendError::TooLarge)).unwrap();
        assert_eq!(delivery.await, Err(AppendError::TooLarge));
        assert!(!told.0.load(Ordering::Relaxed));
    }
}
