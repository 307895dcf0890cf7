use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::request::Fault;
use crate::error;

/// The answer to a request that was made: a future without the request in it, which would only be
/// carried around by those who wait.
#[derive(Debug)]
#[must_use = "whether the request was granted is in the answer"]
pub(crate) enum Answering<A> {
    Known(Option<Result<A, Fault>>),
    OnItsWay(oneshot::Receiver<Result<A, Fault>>),
}

impl<A: Unpin> Future for Answering<A> {
    type Output = Result<A, Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The writer answers everything; that it does not can only be a panic within.
        let lost = || Err(error::unknown("the writer's thread has ended").into());
        match self.get_mut() {
            Self::Known(answer) => Poll::Ready(answer.take().unwrap_or_else(lost)),
            Self::OnItsWay(answer) => {
                Pin::new(answer).poll(cx).map(|answer| answer.unwrap_or_else(|_| lost()))
            }
        }
    }
}
