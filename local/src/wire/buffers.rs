//! Buffers of large answers, used again: memory that was never used before costs more than what is
//! written into it.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Smaller ones are left to the allocator, which keeps them itself.
const SMALLEST: usize = 128 << 10;
/// Spare buffers hold so many bytes at most, all together.
const MOST: usize = 32 << 20;

/// Spare buffers, empty. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Spare>>);

#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that comes back when nobody reads it any more.
struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer, with room if there is one with room.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut spare = self.0.lock();
        let buffer = spare.buffers.pop().unwrap_or_default();
        spare.bytes -= buffer.capacity();
        buffer
    }

    /// The bytes of a buffer, which comes back when the last reader has dropped them.
    pub(crate) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        if buffer.capacity() < SMALLEST {
            return Bytes::from(buffer);
        }
        Bytes::from_owner(Lent {
            buffer,
            home: self.clone(),
        })
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.0.lock();
        // What is too much is freed.
        if spare.bytes + buffer.capacity() <= MOST {
            spare.bytes += buffer.capacity();
            spare.buffers.push(buffer);
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_empty_when_its_last_reader_is_gone() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        assert_eq!(buffer.capacity(), 0);
        buffer.reserve_exact(SMALLEST);
        buffer.extend_from_slice(b"answer");
        let place = buffer.as_ptr();
        let bytes = buffers.lend(buffer);
        let other = bytes.slice(2..);
        assert_eq!(&bytes[..], b"answer");
        drop(bytes);
        assert_eq!(buffers.take().capacity(), 0, "still read");
        assert_eq!(&other[..], b"swer");
        drop(other);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(buffers.0.lock().bytes, 0);
    }

    #[test]
    fn spare_buffers_are_bounded_and_small_ones_are_not_kept() {
        let buffers = Buffers::default();
        let small = buffers.lend(vec![7; SMALLEST - 1]);
        let large: Vec<Bytes> = (0..100).map(|_| buffers.lend(vec![0; 1 << 20])).collect();
        assert_eq!(&small[..3], [7; 3]);
        drop((small, large));
        let spare = buffers.0.lock();
        assert_eq!((spare.buffers.len(), spare.bytes), (32, MOST));
    }
}
