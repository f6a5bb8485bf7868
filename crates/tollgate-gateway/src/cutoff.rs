//! The moment after which nothing under way goes on.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use tokio_util::sync::CancellationToken;

/// Comes once, or never. Who waits for it beside something else asks no lock that all share but once: a token alone
/// would be locked at every poll of every request.
#[derive(Debug, Default)]
pub(crate) struct Cutoff {
    has_come: AtomicBool,
    token: CancellationToken,
}

impl Cutoff {
    /// It is now.
    pub(crate) fn come(&self) {
        // first: who is woken must see it
        self.has_come.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire)
    }

    /// For what is to end with it and may be ended before.
    pub(crate) fn child_token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// What the future answers, or `None` where the moment comes first. It is pinned by the caller: here it would need
    /// its room twice.
    pub(crate) async fn before<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut coming = pin!(self.token.cancelled());
        let mut woken: Option<Waker> = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if woken.as_ref().is_some_and(|woken| woken.will_wake(context.waker())) {
                return if self.has_come() { Poll::Ready(None) } else { Poll::Pending };
            }
            woken = Some(context.waker().clone());
            coming.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_woken_whenever_it_began() {
        let cutoff = Arc::new(Cutoff::default());
        assert_eq!(cutoff.before(pin!(async { 1 })).await, Some(1));
        let waiting = |polls: usize| {
            let cutoff = Arc::clone(&cutoff);
            let (is_waiting, waits) = oneshot::channel();
            let task = tokio::spawn(async move {
                let work = async {
                    for _ in 0..polls {
                        tokio::task::yield_now().await;
                    }
                    is_waiting.send(()).unwrap();
                    std::future::pending::<()>().await;
                };
                cutoff.before(pin!(work)).await
            });
            (task, waits)
        };
        let mut tasks = Vec::new();
        for polls in [0, 1, 5] {
            let (task, waits) = waiting(polls);
            waits.await.unwrap();
            tasks.push(task);
        }
        cutoff.come();
        for task in tasks {
            assert_eq!(task.await.unwrap(), None);
        }
        assert_eq!(cutoff.before(pin!(std::future::pending::<()>())).await, None, "and afterwards");
        assert!(cutoff.has_come() && cutoff.child_token().is_cancelled());
    }

    #[tokio::test]
    async fn another_waker_is_woken_too() {
        let cutoff = Cutoff::default();
        let work = pin!(std::future::pending::<()>());
        let mut waiting = pin!(cutoff.before(work));
        // polled by nobody who could be woken, and then by this task
        let mut noop = std::task::Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut noop).is_pending());
        let (outcome, ()) = tokio::join!(waiting, async { cutoff.come() });
        assert_eq!(outcome, None);
    }
}
