//! What bodies may take in memory, of all connections together.

use bytes::Bytes;
use hyper::body::Body;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const KIB: usize = 1 << 10;
/// A body up to this is small: whatever large ones wait for, these go on.
const SMALL: usize = 1 << 20;
/// For the bodies of requests, in KiB each: small ones, and large ones.
const SMALL_BODIES: usize = 64 << 10;
const LARGE_BODIES: usize = 256 << 10;
/// For large answers that are not read yet, in KiB: seventy pages of 10 MiB in base64, which whoever
/// reads hardly needs at a time.
const ANSWERS: usize = 1 << 20;

/// Shared by the connections of a server.
#[derive(Debug, Clone)]
pub(super) struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            small: Arc::new(Semaphore::new(SMALL_BODIES)),
            large: Arc::new(Semaphore::new(LARGE_BODIES)),
            answers: Arc::new(Semaphore::new(ANSWERS)),
        }
    }

    /// Waits until a body of this length has room, in order of arrival. It is taken whole before any of
    /// it is read, so that none waits half read for another. What does not say how long it is takes
    /// `most`.
    pub(super) async fn for_body(&self, body: &(impl Body + Sync), most: usize) -> Held {
        let length = body.size_hint().upper();
        let length = length.map_or(most, |n| usize::try_from(n).unwrap_or(most).min(most));
        let room = if length <= SMALL {
            &self.small
        } else {
            &self.large
        };
        // Never closed.
        Held(Arc::clone(room).acquire_many_owned(kib(length)).await.ok())
    }

    /// The same bytes, which have their room until they are sent; none when there is no room.
    pub(super) fn for_answer(&self, bytes: Bytes) -> Option<Bytes> {
        if bytes.len() <= SMALL {
            return Some(bytes);
        }
        let room = Arc::clone(&self.answers).try_acquire_many_owned(kib(bytes.len()));
        let held = Held(Some(room.ok()?));
        Some(Bytes::from_owner(Answer { bytes, _held: held }))
    }
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "dropped")] Option<OwnedSemaphorePermit>);

struct Answer {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;

    const MOST: usize = 20 << 20;

    fn body(length: usize) -> Full<Bytes> {
        Full::new(vec![0; length].into())
    }

    #[test]
    fn large_bodies_wait_for_each_other_and_small_ones_for_none_of_them() {
        let room = Room::new();
        let large = body(16 << 20);
        let mut held: Vec<Held> = (0..16)
            .map(|_| room.for_body(&large, MOST).now_or_never().unwrap())
            .collect();
        assert!(room.for_body(&large, MOST).now_or_never().is_none());
        // What does not say how long it is may be as long as any.
        let stream = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let endless = StreamBody::new(stream);
        assert!(room.for_body(&endless, MOST).now_or_never().is_none());
        assert!(room.for_body(&body(SMALL), MOST).now_or_never().is_some());
        held.pop();
        assert!(room.for_body(&large, MOST).now_or_never().is_some());
    }

    #[test]
    fn an_answer_has_its_room_until_its_last_part_is_gone() {
        let room = Room::new();
        let large = Bytes::from(vec![7; 300 << 20]);
        let _others = [(); 2].map(|()| room.for_answer(large.clone()).unwrap());
        let mut rest = room.for_answer(large.clone()).unwrap();
        assert_eq!(rest.len(), large.len());
        let part = rest.split_to(1_000);
        drop(rest);
        assert_eq!(room.for_answer(large.clone()), None);
        assert!(room.for_answer(Bytes::from(vec![0; SMALL])).is_some());
        drop(part);
        assert!(room.for_answer(large).is_some());
    }
}
