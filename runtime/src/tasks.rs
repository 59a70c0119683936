//! Tasks with an owner.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns tasks and stops them: first asked (their [`CancellationToken`] is cancelled), then waited for,
/// then aborted at a deadline and named in the [`ShutdownReport`].
///
/// Scopes nest: a scope's children are stopped before the scope itself, the youngest child first, so
/// that what was started on top of something ends before it.
#[derive(Clone)]
pub struct TaskScope(Arc<Inner>);

struct Inner {
    name: &'static str,
    token: CancellationToken,
    tracker: TaskTracker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, (&'static str, AbortHandle)>,
    children: Vec<TaskScope>,
}

/// What a shutdown found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Names of the tasks that did not end by the deadline and were aborted, in the order of their
    /// start.
    pub aborted: Vec<&'static str>,
}

impl ShutdownReport {
    /// True when every task ended by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.aborted.is_empty()
    }
}

/// Takes the task off the scope's list however it ends, a panic or an abort included.
struct Leaving {
    scope: Arc<Inner>,
    id: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.scope.state.lock().running.remove(&self.id);
    }
}

impl TaskScope {
    /// An empty scope.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self::with_token(name, CancellationToken::new())
    }

    fn with_token(name: &'static str, token: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            name,
            token,
            tracker: TaskTracker::new(),
            state: Mutex::new(State::default()),
        }))
    }

    /// A scope that is stopped before this one, and cancelled with it.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Self {
        let child = Self::with_token(name, self.0.token.child_token());
        self.0.state.lock().children.push(child.clone());
        child
    }

    /// The token that tells this scope's tasks to end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Starts a task on the present runtime. Its name stands in the report if it has to be aborted.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.0.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let leaving = Leaving {
            scope: Arc::clone(&self.0),
            id,
        };
        let handle = self.0.tracker.spawn(async move {
            let _leaving = leaving;
            task.await;
        });
        state.running.insert(id, (name, handle.abort_handle()));
    }

    /// How many of this scope's own tasks run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.tracker.len()
    }

    /// Stops children, then own tasks: cancels, waits until `deadline` from now for all of them
    /// together, then aborts what is left and waits for it to be gone.
    ///
    /// # Cancellation
    /// Dropping the future leaves the tasks cancelled but not waited for; calling again goes on.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.shutdown_at(Instant::now() + deadline).await
    }

    async fn shutdown_at(&self, deadline: Instant) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        loop {
            let child = self.0.state.lock().children.pop();
            let Some(child) = child else { break };
            report
                .aborted
                .extend(Box::pin(child.shutdown_at(deadline)).await.aborted);
        }
        self.0.token.cancel();
        self.0.tracker.close();
        if tokio::time::timeout_at(deadline, self.0.tracker.wait())
            .await
            .is_err()
        {
            let left: Vec<_> = self.0.state.lock().running.values().cloned().collect();
            for (name, handle) in left {
                tracing::warn!(scope = self.0.name, task = name, "aborted at the deadline");
                handle.abort();
                report.aborted.push(name);
            }
            self.0.tracker.wait().await;
        }
        report
    }
}

impl fmt::Debug for TaskScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskScope")
            .field("name", &self.0.name)
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn children_end_before_their_parent_and_the_youngest_first() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let root = TaskScope::new("root");
        let start = |scope: &TaskScope, name: &'static str| {
            let (token, order) = (scope.token().clone(), Arc::clone(&order));
            scope.spawn(name, async move {
                token.cancelled().await;
                order.lock().push(name);
            });
        };
        start(&root, "root");
        let first = root.child("first");
        start(&first, "first");
        let second = root.child("second");
        start(&second, "second");
        let report = root.shutdown(Duration::from_secs(1)).await;
        assert!(report.is_clean());
        assert_eq!(*order.lock(), ["second", "first", "root"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_listen_is_aborted_and_named() {
        let scope = TaskScope::new("scope");
        scope.spawn("deaf", std::future::pending());
        let token = scope.token().clone();
        scope.spawn("good", async move { token.cancelled().await });
        let begin = Instant::now();
        let report = scope.shutdown(Duration::from_secs(3)).await;
        assert_eq!(report.aborted, ["deaf"]);
        assert_eq!(begin.elapsed(), Duration::from_secs(3));
        assert_eq!(scope.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_task_does_not_hold_up_the_end() {
        let scope = TaskScope::new("scope");
        scope.spawn("panics", async { panic!("expected by the test") });
        tokio::task::yield_now().await;
        assert!(scope.shutdown(Duration::from_secs(1)).await.is_clean());
    }
}
