//! Holds answers until a test lets them go, so that tests need no sleeps.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::wait::within_wait_timeout;

/// A gate that answers wait at; clones are the same gate, and one gate may hold any number of answers.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    // Closed means that the gate stands open for good.
    passes: Semaphore,
    n_waiting: watch::Sender<usize>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Arc::new(Inner { passes: Semaphore::new(0), n_waiting: watch::Sender::new(0) }) }
    }

    /// Lets `n` answers pass, waiting ones first.
    pub fn release(&self, n: usize) {
        self.inner.passes.add_permits(n);
    }

    /// Lets every answer pass from now on.
    pub fn open(&self) {
        self.inner.passes.close();
    }

    /// Answers that wait now.
    pub fn n_waiting(&self) -> usize {
        *self.inner.n_waiting.borrow()
    }

    /// Waits until at least `n` answers wait at the gate.
    pub async fn wait_for_waiting(&self, n: usize) -> anyhow::Result<()> {
        let mut n_waiting = self.inner.n_waiting.subscribe();
        let what = format!("{n} answers to wait at a gate");
        within_wait_timeout(&what, n_waiting.wait_for(|&waiting| waiting >= n)).await??;
        Ok(())
    }

    /// Waits for a pass.
    pub(super) async fn pass(&self) {
        let _waiting = Waiting::new(&self.inner.n_waiting);
        // An error means that the gate stands open.
        if let Ok(permit) = self.inner.passes.acquire().await {
            permit.forget();
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gate").field("n_waiting", &self.n_waiting()).finish_non_exhaustive()
    }
}

/// Counts one waiting answer, also when its client goes away.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(n_waiting: &'a watch::Sender<usize>) -> Self {
        n_waiting.send_modify(|waiting| *waiting += 1);
        Self(n_waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}
