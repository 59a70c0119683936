//! The bytes of the spool's files.
//!
//! A segment: `KPLSPOOL`, the format's version (4 bytes), the number of its first record (8), the length
//! of the stream's name (4) and the name, the CRC-32 of all that (4). Then the records, each with the
//! length of its body (4), the body's CRC-32 (4) and the body: flags (1; bit 0: an explicit hash key),
//! the explicit hash key (16, if there is one), the length of the partition key (4) and the key, the
//! data. The mark: `KPLMARKS`, version (4), the number below which all is resolved (8), runs of resolved
//! records above it (8 + 8 each), CRC-32 (4). Numbers are little-endian.

use super::done::Done;
use crate::record::Record;
use aggregation::HashKey;
use bytes::{Buf, BufMut, Bytes};

const SEGMENT: &[u8; 8] = b"KPLSPOOL";
const MARK: &[u8; 8] = b"KPLMARKS";
const VERSION: u32 = 1;
/// Length and CRC-32 before a record's body.
const RECORD_HEAD: usize = 8;
const HAS_HASH_KEY: u8 = 1;

fn length(bytes: &[u8]) -> u32 {
    // A record is at most 10 MiB; a stream's name 128 bytes.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The head of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) stream: String,
}

impl Head {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.stream.len());
        out.put_slice(SEGMENT);
        out.put_u32_le(VERSION);
        out.put_u64_le(self.first);
        out.put_u32_le(length(self.stream.as_bytes()));
        out.put_slice(self.stream.as_bytes());
        out.put_u32_le(crc32fast::hash(&out));
        out
    }

    /// The head, and how long it is; none if it is not whole.
    pub(super) fn read(file: &[u8]) -> Option<(Self, usize)> {
        let mut rest = file.strip_prefix(SEGMENT)?;
        if rest.try_get_u32_le().ok()? != VERSION {
            return None;
        }
        let first = rest.try_get_u64_le().ok()?;
        let name = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
        let (name, mut rest) = rest.split_at_checked(name)?;
        let checked = file.len() - rest.len();
        let check = rest.try_get_u32_le().ok()?;
        if check != crc32fast::hash(file.get(..checked)?) {
            return None;
        }
        let stream = std::str::from_utf8(name).ok()?.to_owned();
        Some((Self { first, stream }, checked + 4))
    }
}

/// How many bytes a record takes.
pub(super) fn record_size(record: &Record) -> usize {
    let hash_key = if record.explicit_hash_key.is_some() {
        16
    } else {
        0
    };
    RECORD_HEAD + 1 + hash_key + 4 + record.partition_key.len() + record.data.len()
}

/// Appends a record.
pub(super) fn put_record(record: &Record, out: &mut Vec<u8>) {
    out.reserve(record_size(record));
    let head = out.len();
    out.put_u64_le(0);
    let body = out.len();
    match record.explicit_hash_key {
        None => out.put_u8(0),
        Some(key) => {
            out.put_u8(HAS_HASH_KEY);
            out.put_u128_le(key.as_u128());
        }
    }
    out.put_u32_le(length(record.partition_key.as_bytes()));
    out.put_slice(record.partition_key.as_bytes());
    out.put_slice(&record.data);
    let written = out.get(body..).unwrap_or_default();
    let (length, check) = (length(written), crc32fast::hash(written));
    if let Some(mut head) = out.get_mut(head..body) {
        head.put_u32_le(length);
        head.put_u32_le(check);
    }
}

/// The records of a segment, as far as they are whole. `at` is where the first begins; it is moved to
/// where the last whole one ends.
pub(super) fn read_records(file: &Bytes, at: &mut usize) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((record, end)) = read_record(file, *at) {
        records.push(record);
        *at = end;
    }
    records
}

/// As [`read_records`], but only counts them.
pub(super) fn count_records(file: &[u8], at: &mut usize) -> u64 {
    let mut records = 0;
    while let Some(body) = file.get(*at..).and_then(whole_body) {
        records += 1;
        *at += RECORD_HEAD + body.len();
    }
    records
}

/// The body of the record that `rest` begins with, if it is whole.
fn whole_body(mut rest: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    let check = rest.try_get_u32_le().ok()?;
    let (body, _) = rest.split_at_checked(length)?;
    // Zeros, which a file system may leave at a tail, would check: their CRC-32 is 0.
    (!body.is_empty() && crc32fast::hash(body) == check).then_some(body)
}

fn read_record(file: &Bytes, at: usize) -> Option<(Record, usize)> {
    let body = whole_body(file.get(at..)?)?;
    let mut rest = body;
    let explicit_hash_key = match rest.try_get_u8().ok()? {
        0 => None,
        HAS_HASH_KEY => Some(HashKey::new(rest.try_get_u128_le().ok()?)),
        _ => return None,
    };
    let key = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    let (key, data) = rest.split_at_checked(key)?;
    let record = Record {
        partition_key: std::str::from_utf8(key).ok()?.to_owned(),
        keyless: key.is_empty(),
        explicit_hash_key,
        // A copy: the record must not keep the whole segment in memory.
        data: Bytes::copy_from_slice(data),
    };
    Some((record, at + RECORD_HEAD + body.len()))
}

/// The bytes of a mark.
pub(super) fn mark(done: &Done) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + 16 * done.runs().len());
    out.put_slice(MARK);
    out.put_u32_le(VERSION);
    out.put_u64_le(done.below());
    for run in done.runs() {
        out.put_u64_le(run.start);
        out.put_u64_le(run.end);
    }
    out.put_u32_le(crc32fast::hash(&out));
    out
}

/// What a mark says; none if it is not whole.
pub(super) fn read_mark(file: &[u8]) -> Option<Done> {
    let (content, check) = file.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_le_bytes(*check) {
        return None;
    }
    let mut rest = content.strip_prefix(MARK)?;
    if rest.try_get_u32_le().ok()? != VERSION {
        return None;
    }
    let below = rest.try_get_u64_le().ok()?;
    let mut runs = Vec::with_capacity(rest.len() / 16);
    while !rest.is_empty() {
        let start = rest.try_get_u64_le().ok()?;
        runs.push(start..rest.try_get_u64_le().ok()?);
    }
    Some(Done::new(below, runs))
}
