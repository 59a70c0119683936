//! The thread behind the socket: dynoxide works on the calling thread and waits for its lock there,
//! which would stop a runtime's workers.

use super::Answer;
use super::store::{Store, StoreCall};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait for the thread; more wait for room.
const QUEUE: usize = 1_024;

struct Call {
    call: StoreCall,
    answer: oneshot::Sender<Answer>,
}

/// A handle on the thread. The thread ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct DynamoThread {
    calls: mpsc::Sender<Call>,
}

impl DynamoThread {
    /// Starts the thread.
    pub(crate) fn start(store: Store) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (calls, mut queue) = mpsc::channel::<Call>(QUEUE);
        let thread = std::thread::Builder::new()
            .name("local-dynamodb".to_owned())
            .spawn(move || {
                while let Some(call) = queue.blocking_recv() {
                    let answer = store.call(&call.call);
                    // The asker may have gone.
                    let _ = call.answer.send(answer);
                }
            })?;
        Ok((Self { calls }, thread))
    }

    /// Asks the thread; none when it is gone. Cancelled while it waits, the call may still be
    /// carried out.
    pub(crate) async fn call(&self, call: StoreCall) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { call, answer }).await.ok()?;
        answered.await.ok()
    }
}
