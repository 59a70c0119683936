//! The two tables of a growing aggregate: each key once, found again quickly.

use std::hash::BuildHasher;

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::hash::HashKey;
use crate::wire::{bytes_field_len, put_bytes, tag};

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
    /// Where in `bytes` the text of each key is.
    spans: Vec<(usize, usize)>,
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// The key used last; a run of equal keys never gets to the hash table.
    last: usize,
}

impl PartitionKeys {
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn find(&self, key: &str) -> Place {
        if text(&self.bytes, &self.spans, self.last) == Some(key.as_bytes()) {
            return Place::Known(self.last);
        }
        let hash = self.hasher.hash_one(key.as_bytes());
        let found = self.index.find(hash, |index| {
            text(&self.bytes, &self.spans, *index) == Some(key.as_bytes())
        });
        match found {
            Some(index) => Place::Known(*index),
            None => Place::New {
                hash,
                size: bytes_field_len(key.len()),
            },
        }
    }

    /// Takes the answer of [`find`](Self::find) for the same key; gives its index.
    pub(crate) fn enter(&mut self, key: &str, place: Place) -> usize {
        self.last = match place {
            Place::Known(index) => index,
            Place::New { hash, .. } => {
                let index = self.spans.len();
                put_bytes(&mut self.bytes, tag::TABLE_PARTITION_KEY, key.as_bytes());
                self.spans
                    .push((self.bytes.len() - key.len(), self.bytes.len()));
                let Self {
                    bytes,
                    spans,
                    hasher,
                    ..
                } = self;
                self.index.insert_unique(hash, index, |index| {
                    hasher.hash_one(text(bytes, spans, *index).unwrap_or_default())
                });
                index
            }
        };
        self.last
    }

    /// The region, and where each key's text is in it.
    /// Gives the region and the spans of the keys in it. The table is empty then; its index keeps its memory.
    pub(crate) fn take(&mut self) -> (Vec<u8>, Vec<(usize, usize)>) {
        self.index.clear();
        self.last = 0;
        (
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.spans),
        )
    }

    /// Gives an empty table memory to grow in.
    pub(crate) fn reuse(&mut self, bytes: Vec<u8>, spans: Vec<(usize, usize)>) {
        debug_assert!(self.spans.is_empty() && bytes.is_empty() && spans.is_empty());
        (self.bytes, self.spans) = (bytes, spans);
    }
}

fn text<'a>(bytes: &'a [u8], spans: &[(usize, usize)], index: usize) -> Option<&'a [u8]> {
    let (start, end) = *spans.get(index)?;
    bytes.get(start..end)
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
