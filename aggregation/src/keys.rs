//! The two tables of a growing aggregate: each key once, found again quickly.

use std::hash::BuildHasher;

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::hash::HashKey;
use crate::wire::{Span, bytes_field_len, put_bytes, tag};

/// Where a key is in its table, or will be.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Place {
    Known(usize),
    /// Not in the table. `hash` is that of the hash table, `size` what the entry will take.
    New {
        hash: u64,
        size: usize,
    },
}

impl Place {
    /// Bytes that the table grows by.
    pub(crate) fn size(self) -> usize {
        match self {
            Place::Known(_) => 0,
            Place::New { size, .. } => size,
        }
    }
}

/// Partition keys in final bytes, and an index over these bytes: no second copy of a key. The order
/// of the hash table decides nothing: it only answers where a key is.
#[derive(Clone, Default)]
pub(crate) struct PartitionKeys {
    bytes: Vec<u8>,
    count: usize,
    index: HashTable<Known>,
    hasher: DefaultHashBuilder,
    /// The newest key, with its end: the next record often has the same.
    last: Option<(u64, Known)>,
}

/// Where in the region a key's text is, and its number.
#[derive(Clone, Copy)]
struct Known {
    start: u32,
    end: u32,
    index: u32,
}

impl PartitionKeys {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of the region.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn find(&self, key: &str) -> Place {
        let same = |known: &Known| text(&self.bytes, *known) == key.as_bytes();
        // The end first: the text may have left the CPU's cache long ago.
        if let Some((last, known)) = &self.last
            && *last == end_of(key)
            && same(known)
            && let Ok(index) = usize::try_from(known.index)
        {
            return Place::Known(index);
        }
        let hash = self.hasher.hash_one(key.as_bytes());
        let found = self.index.find(hash, same);
        match found.and_then(|known| usize::try_from(known.index).ok()) {
            Some(index) => Place::Known(index),
            None => Place::New {
                hash,
                size: bytes_field_len(key.len()),
            },
        }
    }

    pub(crate) fn enter(&mut self, key: &str, place: Place) -> usize {
        let hash = match place {
            Place::Known(index) => return index,
            Place::New { hash, .. } => hash,
        };
        let number = self.count;
        self.count += 1;
        put_bytes(&mut self.bytes, tag::TABLE_PARTITION_KEY, key.as_bytes());
        let end = self.bytes.len();
        // A key beyond 4 GiB is not found again, and costs its bytes once more.
        if let (Ok(start), Ok(end), Ok(index)) = (
            u32::try_from(end - key.len()),
            u32::try_from(end),
            u32::try_from(number),
        ) {
            let known = Known { start, end, index };
            let Self { bytes, hasher, .. } = self;
            self.index
                .insert_unique(hash, known, |known| hasher.hash_one(text(bytes, *known)));
            self.last = Some((end_of(key), known));
        }
        number
    }

    /// Gives the region. The table is empty then; its index keeps its memory.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.index.clear();
        self.last = None;
        self.count = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Gives an empty table memory to grow in.
    pub(crate) fn reuse(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.count == 0 && bytes.is_empty());
        self.bytes = bytes;
    }
}

/// Its last eight bytes; 0 for a shorter one.
fn end_of(key: &str) -> u64 {
    key.as_bytes()
        .last_chunk()
        .map_or(0, |end| u64::from_le_bytes(*end))
}

fn text(bytes: &[u8], known: Known) -> &[u8] {
    let Known { start, end, .. } = known;
    Span { start, end }.of(bytes)
}

/// Explicit hash keys in final bytes. They are looked up as numbers.
#[derive(Clone, Default)]
pub(crate) struct ExplicitHashKeys {
    bytes: Vec<u8>,
    keys: Vec<HashKey>,
    index: HashMap<HashKey, usize>,
    last: usize,
}

impl ExplicitHashKeys {
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn find(&self, key: HashKey) -> Place {
        if self.keys.get(self.last) == Some(&key) {
            return Place::Known(self.last);
        }
        match self.index.get(&key) {
            Some(index) => Place::Known(*index),
            None => Place::New {
                hash: 0,
                size: bytes_field_len(key.decimal_len()),
            },
        }
    }

    pub(crate) fn enter(&mut self, key: HashKey, place: Place) -> usize {
        self.last = match place {
            Place::Known(index) => index,
            Place::New { .. } => match self.index.entry(key) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    let text = key.to_string();
                    put_bytes(
                        &mut self.bytes,
                        tag::TABLE_EXPLICIT_HASH_KEY,
                        text.as_bytes(),
                    );
                    self.keys.push(key);
                    *vacant.insert(self.keys.len() - 1)
                }
            },
        };
        self.last
    }

    /// As [`PartitionKeys::take`].
    pub(crate) fn take(&mut self) -> (Vec<u8>, Vec<HashKey>) {
        self.index.clear();
        self.last = 0;
        (
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.keys),
        )
    }

    /// As [`PartitionKeys::reuse`].
    pub(crate) fn reuse(&mut self, bytes: Vec<u8>, keys: Vec<HashKey>) {
        debug_assert!(self.keys.is_empty() && bytes.is_empty() && keys.is_empty());
        (self.bytes, self.keys) = (bytes, keys);
    }
}
