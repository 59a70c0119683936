//! Memory for the bodies of large requests, used again and again: memory that is fresh for each costs a
//! page fault every 4 KiB, which is a tenth of a producer's CPU time.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// The largest buffer that is kept, in bytes: `PutRecords` takes ten, and rarely more than five.
const LARGEST: usize = 6 << 20;

/// Buffers that are free. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    free: Vec<Vec<u8>>,
    lent: usize,
}

impl Buffers {
    /// An empty buffer for at least so many bytes, until it or what was made of it is dropped.
    pub(crate) fn take(&self, bytes: usize) -> Buffer {
        let mut state = self.0.lock();
        state.lent += 1;
        let free = state.free.pop();
        drop(state);
        let memory = match free {
            Some(free) if free.capacity() >= bytes => free,
            // What is too small is not grown: its contents would be copied.
            _ => Vec::with_capacity(bytes),
        };
        Buffer {
            memory,
            home: self.clone(),
        }
    }
}

impl State {
    /// Keeps as many as are in use, those that were used last, and one at rest. Gives the others.
    fn take_back(&mut self, mut memory: Vec<u8>) -> Vec<Vec<u8>> {
        self.lent -= 1;
        if memory.capacity() > LARGEST {
            return vec![memory];
        }
        memory.clear();
        self.free.push(memory);
        let excess = self.free.len().saturating_sub(self.lent.max(1));
        self.free.drain(..excess).collect()
    }
}

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    home: Buffers,
}

impl Buffer {
    /// Fills the buffer.
    pub(crate) fn filled(mut self, fill: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Bytes {
        self.memory = fill(std::mem::take(&mut self.memory));
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let excess = self
            .home
            .0
            .lock()
            .take_back(std::mem::take(&mut self.memory));
        drop(excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, bytes: usize) -> Bytes {
        buffers.take(bytes).filled(|mut memory| {
            assert!(memory.is_empty());
            assert!(memory.capacity() >= bytes);
            memory.resize(bytes, 7);
            memory
        })
    }

    fn kept(buffers: &Buffers) -> usize {
        buffers.0.lock().free.len()
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_view_is_dropped() {
        let buffers = Buffers::default();
        let whole = filled(&buffers, 1_000);
        let at = whole.as_ptr();
        let view = whole.slice(10..20);
        drop(whole);
        assert_eq!(kept(&buffers), 0);
        assert_eq!(view, [7; 10].as_slice());
        drop(view);
        assert_eq!(filled(&buffers, 900).as_ptr(), at);
    }

    #[test]
    fn as_many_are_kept_as_are_in_use_and_one_at_rest() {
        let buffers = Buffers::default();
        let mut used: Vec<Bytes> = (0..8).map(|_| filled(&buffers, 10)).collect();
        used.truncate(4);
        assert_eq!(kept(&buffers), 4);
        used.truncate(1);
        assert_eq!(kept(&buffers), 1);
        let last = used[0].as_ptr();
        used.clear();
        assert_eq!(kept(&buffers), 1);
        assert_eq!(filled(&buffers, 10).as_ptr(), last);
    }

    #[test]
    fn what_is_larger_than_any_usual_request_is_not_kept() {
        let buffers = Buffers::default();
        drop(filled(&buffers, LARGEST + 1));
        assert_eq!(kept(&buffers), 0);
    }
}
