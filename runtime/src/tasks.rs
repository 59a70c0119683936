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

/// Stands for "never" where an instant has to be named.
const FAR_AWAY: Duration = Duration::from_secs(30 * 365 * 86_400);

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
    /// A task has no handle yet while it is being started.
    running: BTreeMap<u64, (&'static str, Option<AbortHandle>)>,
    children: Vec<TaskScope>,
    /// The deadline of a shutdown is over: what starts now is aborted at once.
    over: bool,
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
        let mut state = self.0.state.lock();
        // A scope that nobody holds and that runs nothing has nothing to be stopped: a task holds its
        // scope.
        state
            .children
            .retain(|c| Arc::strong_count(&c.0) > 1 || c.has_children());
        state.children.push(child.clone());
        child
    }

    fn has_children(&self) -> bool {
        !self.0.state.lock().children.is_empty()
    }

    /// The token that tells this scope's tasks to end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Starts a task on the present runtime. Its name stands in the report if it has to be aborted.
    /// A task that is started once the deadline of a [`TaskScope::shutdown`] is over does not run.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let id = {
            let mut state = self.0.state.lock();
            let id = state.next_id;
            state.next_id += 1;
            state.running.insert(id, (name, None));
            id
        };
        let leaving = Leaving {
            scope: Arc::clone(&self.0),
            id,
        };
        // Not under the lock: a runtime that is shutting down drops the task at once, which takes it
        // off the list.
        let handle = self.0.tracker.spawn(async move {
            let _leaving = leaving;
            task.await;
        });
        let handle = handle.abort_handle();
        let over = {
            let mut state = self.0.state.lock();
            if let Some((_, place)) = state.running.get_mut(&id) {
                *place = Some(handle.clone());
            }
            state.over
        };
        if over {
            handle.abort();
        }
    }

    /// How many of this scope's own tasks run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.tracker.len()
    }

    /// Stops children, then own tasks: cancels, waits until `deadline` from now for all of them
    /// together, then aborts what is left and waits for it to be gone. A deadline too far away for
    /// the clock ([`Duration::MAX`]) is none.
    ///
    /// # Cancellation
    /// Dropping the future leaves tasks cancelled but not waited for; calling again goes on where it
    /// stopped.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let now = Instant::now();
        let deadline = now
            .checked_add(deadline)
            .or_else(|| now.checked_add(FAR_AWAY))
            .unwrap_or(now);
        self.shutdown_at(deadline).await
    }

    async fn shutdown_at(&self, deadline: Instant) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        loop {
            // It stays on the list until it is stopped: a caller may give up meanwhile and call again.
            let child = self.0.state.lock().children.last().cloned();
            let Some(child) = child else { break };
            report
                .aborted
                .extend(Box::pin(child.shutdown_at(deadline)).await.aborted);
            let mut state = self.0.state.lock();
            state.children.retain(|c| !Arc::ptr_eq(&c.0, &child.0));
        }
        self.0.token.cancel();
        self.0.tracker.close();
        if tokio::time::timeout_at(deadline, self.0.tracker.wait())
            .await
            .is_err()
        {
            let left: Vec<_> = {
                let mut state = self.0.state.lock();
                state.over = true;
                state.running.values().cloned().collect()
            };
            for (name, handle) in left {
                tracing::warn!(scope = self.0.name, task = name, "aborted at the deadline");
                if let Some(handle) = handle {
                    handle.abort();
                }
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
    async fn a_shutdown_that_was_given_up_goes_on_when_called_again() {
        let root = TaskScope::new("root");
        let child = root.child("child");
        child.spawn("deaf", std::future::pending());
        let soon = Duration::from_secs(1);
        let given_up = tokio::time::timeout(soon, root.shutdown(Duration::from_secs(9))).await;
        assert!(given_up.is_err());
        assert_eq!(root.shutdown(soon).await.aborted, ["deaf"]);
        assert_eq!(child.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_be_as_far_away_as_can_be() {
        let scope = TaskScope::new("scope");
        scope.spawn("slow", tokio::time::sleep(Duration::from_secs(99)));
        assert!(scope.shutdown(Duration::MAX).await.is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_starts_another_while_it_is_aborted_does_not_hold_up_the_end() {
        struct StartsAnother(TaskScope);
        impl Drop for StartsAnother {
            fn drop(&mut self) {
                self.0.spawn("late", std::future::pending());
            }
        }
        let scope = TaskScope::new("scope");
        let starts = StartsAnother(scope.clone());
        scope.spawn("deaf", async move {
            let _starts = starts;
            std::future::pending::<()>().await;
        });
        let ended = scope.shutdown(Duration::from_secs(1));
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert_eq!(ended.unwrap().aborted, ["deaf"]);
        assert_eq!(scope.running(), 0);
    }

    #[test]
    fn a_task_of_a_runtime_that_is_gone_is_dropped() {
        let scope = TaskScope::new("scope");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let (done, ended) = std::sync::mpsc::channel();
        let spawning = scope.clone();
        std::thread::spawn(move || {
            let _entered = handle.enter();
            spawning.spawn("late", std::future::pending());
            done.send(()).unwrap();
        });
        assert!(ended.recv_timeout(Duration::from_secs(20)).is_ok(), "hangs");
        assert!(scope.0.state.lock().running.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn scopes_that_are_done_are_not_kept() {
        let root = TaskScope::new("root");
        for _ in 0..1_000 {
            root.child("short").spawn("task", async {});
            tokio::task::yield_now().await;
        }
        assert!(root.0.state.lock().children.len() < 10);
        let busy = root.child("busy");
        busy.child("inner").spawn("deaf", std::future::pending());
        drop(busy);
        let _ = root.child("another");
        let report = root.shutdown(Duration::from_secs(1)).await;
        assert_eq!(report.aborted, ["deaf"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panicking_task_does_not_hold_up_the_end() {
        let scope = TaskScope::new("scope");
        scope.spawn("panics", async { panic!("expected by the test") });
        tokio::task::yield_now().await;
        assert!(scope.shutdown(Duration::from_secs(1)).await.is_clean());
    }
}
