//! The future of one append: resolves when the log has answered for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::{AppendError, Appended};

/// What became of one enqueued record. Dropping it does not take the record back.
///
/// Resolves within the delivery timeout of the log. Cancel safe: poll it again later.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Appended, AppendError>>);

/// The end that resolves a [`Delivery`]; when it is dropped without an answer, the outcome is unknown.
pub(crate) type Deliver = oneshot::Sender<Result<Appended, AppendError>>;

/// A delivery and the end that resolves it.
pub(crate) fn delivery() -> (Deliver, Delivery) {
    let (sender, receiver) = oneshot::channel();
    (sender, Delivery(receiver))
}

impl Future for Delivery {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(AppendError::Unknown)))
    }
}
