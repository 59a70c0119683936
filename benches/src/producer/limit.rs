//! What this machine could do at the most: the work that no producer of this protocol can leave out, for
//! the same bytes, on one thread, with nothing around it.

use super::meter::thread_cpu;
use super::records::{Keys, Maker};
use crate::Failure;
use aggregation::{HashKey, hash_keys, md5_many};
use kpl::Record;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use std::hint::black_box;
use std::time::Duration;

/// Bytes of a request, as `CollectionMaxSize` has them by default.
const BODY: usize = 5 << 20;
/// The most that TLS encrypts in one piece.
const PIECE: usize = 16 << 10;

/// The work of a record.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    pub keys: Keys,
    pub size: usize,
    /// Bytes of an aggregate.
    pub aggregate: usize,
    /// Keys are hashed one by one, as for single puts.
    pub one_by_one: bool,
}

/// Where the time goes, for each record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts {
    pub keys: Duration,
    pub copies: Duration,
    pub md5: Duration,
    pub sha256: Duration,
    pub tls: Duration,
    records: u64,
}

impl Parts {
    /// Records in a CPU-second.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn rate(&self) -> f64 {
        let whole = self.keys + self.copies + self.md5 + self.sha256 + self.tls;
        self.records as f64 / whole.as_secs_f64()
    }

    /// Nanoseconds of each part a record.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn each(&self) -> [f64; 5] {
        [self.keys, self.copies, self.md5, self.sha256, self.tls]
            .map(|part| part.as_secs_f64() * 1e9 / self.records as f64)
    }
}

/// Measures for so long, on top of what was measured before.
pub fn measure(work: Work, time: Duration, parts: &mut Parts) -> Result<(), Failure> {
    let mut maker = Maker::new(work.keys, work.size);
    let seal = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "no AES-256-GCM")?;
    let seal = LessSafeKey::new(seal);
    // Touched once before it counts.
    once(work, &mut maker, &seal, &mut Parts::default())?;
    let began = thread_cpu();
    while thread_cpu().saturating_sub(began) < time {
        once(work, &mut maker, &seal, parts)?;
    }
    Ok(())
}

/// One request.
fn once(
    work: Work,
    maker: &mut Maker,
    seal: &LessSafeKey,
    parts: &mut Parts,
) -> Result<(), Failure> {
    let mut aggregates: Vec<Vec<u8>> = Vec::new();
    let mut open = Vec::with_capacity(work.aggregate);
    let mut hashes = Vec::new();
    let mut size = 0;
    while size < BODY && aggregates.len() < 500 {
        let slice = maker.slice();
        parts.records += u64::try_from(slice.len())?;
        clocked(&mut parts.keys, || hash(work, &slice, &mut hashes));
        clocked(&mut parts.copies, || {
            for record in &slice {
                let (key, data) = (record.partition_key().as_bytes(), record.data());
                if open.len() + key.len() + data.len() > work.aggregate && !open.is_empty() {
                    size += open.len();
                    let next = Vec::with_capacity(work.aggregate);
                    aggregates.push(std::mem::replace(&mut open, next));
                }
                if work.keys == Keys::Distinct || open.is_empty() {
                    open.extend_from_slice(key);
                }
                open.extend_from_slice(data);
            }
        });
    }
    size += open.len();
    aggregates.push(open);

    let mut digests = Vec::new();
    clocked(&mut parts.md5, || {
        let whole: Vec<&[u8]> = aggregates.iter().map(Vec::as_slice).collect();
        md5_many(&whole, &mut digests);
    });
    let mut body = Vec::with_capacity(size + PIECE);
    clocked(&mut parts.copies, || {
        for aggregate in &aggregates {
            body.extend_from_slice(aggregate);
        }
    });
    clocked(&mut parts.sha256, || black_box(digest(&SHA256, &body)));
    let mut sealed = Ok(());
    clocked(&mut parts.tls, || {
        for piece in body.chunks_mut(PIECE) {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let tag = seal.seal_in_place_separate_tag(nonce, Aad::empty(), piece);
            sealed = sealed.and(tag.map(|tag| {
                let _tag = black_box(tag);
            }));
        }
    });
    black_box((&hashes, &digests, &body));
    sealed.map_err(|_| "AES-256-GCM failed".into())
}

fn hash(work: Work, slice: &[Record], hashes: &mut Vec<HashKey>) {
    let mut keys = slice.iter().map(Record::partition_key);
    match (work.one_by_one, work.keys) {
        (true, _) => {
            hashes.clear();
            hashes.extend(keys.map(|key| HashKey::new(u128::from_be_bytes(md5::compute(key).0))));
        }
        (false, Keys::Distinct) => {
            let keys: Vec<&str> = keys.collect();
            hash_keys(&keys, hashes);
        }
        // The same key a hundred times needs one hash.
        (false, Keys::One) => {
            let keys: Vec<&str> = keys.by_ref().take(1).collect();
            hash_keys(&keys, hashes);
        }
    }
}

fn clocked<T>(into: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = thread_cpu();
    let done = work();
    *into += thread_cpu().saturating_sub(began);
    done
}
