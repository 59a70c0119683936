//! What happens in a producer, for whoever wants to watch.

use aws::ErrorKind;
use futures::Stream;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// Events that wait for one listener.
const KEPT: usize = 256;

/// Something that happened, beside the outcomes of records.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProducerEvent {
    /// A newer list of shards is in use, and differs from the one before.
    Resharded {
        /// Shards that are no longer written to.
        closed: usize,
        /// Shards that are written to now.
        open: usize,
    },
    /// A shard refused entries of a request because it was given too much.
    Throttled {
        /// The shard that they were meant for.
        shard_id: Arc<str>,
        /// Kinesis records.
        entries: usize,
    },
    /// A request failed as a whole.
    RequestFailed {
        /// What kind of failure it is.
        kind: ErrorKind,
        /// The service's name for it, or ours.
        code: String,
        /// All that is known.
        message: String,
    },
    /// A request failed because there are no credentials, or because they were refused.
    CredentialsFailed {
        /// What was tried, or the service's answer.
        message: String,
    },
    /// What an earlier producer had left in the spool is admitted again.
    Recovered {
        /// User records.
        records: u64,
    },
    /// The spool holds as much as it may (`SpoolMaxBytes`): puts wait until records have their outcome.
    /// Told once until it is a quarter emptier.
    SpoolFull {
        /// What it holds, in bytes.
        bytes: u64,
    },
    /// The spool's disk failed, or is full: puts are refused until it is mended.
    SpoolFailed {
        /// What went wrong, and what helps.
        message: String,
    },
    /// The listener was too slow: so many events before the next one are lost.
    Missed {
        /// How many.
        events: u64,
    },
}

/// The events of a producer since [`Producer::events`](crate::Producer::events) was called, as a
/// [`Stream`], which ends with the producer. The latest 256 wait for the listener; older ones are dropped,
/// and counted in [`ProducerEvent::Missed`]. Nothing waits for a listener.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct ProducerEvents(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<ProducerEvent>,
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let waker = {
            let mut waiting = self.0.lock();
            change(&mut waiting);
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn push(&self, event: ProducerEvent) {
        self.change(|waiting| {
            if waiting.events.len() == KEPT {
                waiting.events.pop_front();
                waiting.missed += 1;
            }
            waiting.events.push_back(event);
        });
    }
}

impl Stream for ProducerEvents {
    type Item = ProducerEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ProducerEvent>> {
        let mut waiting = self.0.0.lock();
        if waiting.missed > 0 {
            let events = std::mem::take(&mut waiting.missed);
            return Poll::Ready(Some(ProducerEvent::Missed { events }));
        }
        match waiting.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if waiting.ended => Poll::Ready(None),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Who listens.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Without listeners nothing is made for them.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: Vec<Weak<Queue>>,
    ended: bool,
}

impl Listeners {
    pub(crate) fn listen(&self) -> ProducerEvents {
        let queue = Arc::<Queue>::default();
        let mut state = self.state.lock();
        queue.change(|waiting| waiting.ended = state.ended);
        state.queues.retain(|queue| queue.strong_count() > 0);
        state.queues.push(Arc::downgrade(&queue));
        self.count.store(state.queues.len(), Relaxed);
        ProducerEvents(queue)
    }

    /// Tells all listeners what `event` makes, if there are any.
    pub(crate) fn tell(&self, event: impl FnOnce() -> ProducerEvent) {
        if self.count.load(Relaxed) == 0 {
            return;
        }
        let queues = self.listening();
        if queues.is_empty() {
            return;
        }
        let event = event();
        queues.iter().for_each(|queue| queue.push(event.clone()));
    }

    /// No more events come.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        for queue in self.listening() {
            queue.change(|waiting| waiting.ended = true);
        }
    }

    fn listening(&self) -> Vec<Arc<Queue>> {
        let mut state = self.state.lock();
        let queues: Vec<_> = state.queues.iter().filter_map(Weak::upgrade).collect();
        state.queues.retain(|queue| queue.strong_count() > 0);
        self.count.store(state.queues.len(), Relaxed);
        queues
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    fn recovered(records: u64) -> ProducerEvent {
        ProducerEvent::Recovered { records }
    }

    #[test]
    fn a_slow_listener_misses_the_oldest_and_is_told_how_many() {
        let listeners = Listeners::default();
        listeners.tell(|| panic!("nobody listens"));
        let mut events = listeners.listen();
        let n = KEPT as u64 + 5;
        (0..n).for_each(|n| listeners.tell(|| recovered(n)));
        listeners.end();
        let all: Vec<_> = events.by_ref().collect::<Vec<_>>().now_or_never().unwrap();
        assert_eq!(all[0], ProducerEvent::Missed { events: 5 });
        assert_eq!(all[1..], (5..n).map(recovered).collect::<Vec<_>>());
        let late: Vec<_> = listeners
            .listen()
            .collect::<Vec<_>>()
            .now_or_never()
            .unwrap();
        assert!(late.is_empty(), "the producer has ended");
    }

    #[tokio::test]
    async fn each_listener_is_woken_and_those_who_left_are_forgotten() {
        let listeners = Arc::new(Listeners::default());
        let (mut first, second) = (listeners.listen(), listeners.listen());
        drop(second);
        let waiting = tokio::spawn(async move { first.next().await });
        tokio::task::yield_now().await;
        listeners.tell(|| recovered(1));
        assert_eq!(waiting.await.unwrap(), Some(recovered(1)));
        listeners.tell(|| panic!("nobody listens any more"));
        assert_eq!(listeners.count.load(Relaxed), 0);
    }
}
