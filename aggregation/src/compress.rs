//! An envelope for compressed data, which the KPL's format lacks.
//!
//! | Bytes | What |
//! | --- | --- |
//! | 4 | `B1 5A 4C D7` |
//! | 4 | CRC-32 (that of gzip) of all that follows, the most significant byte first |
//! | 1 | codec: 0 stored, 1 gzip (RFC 1952), 2 zstd (RFC 8878) |
//! | 1–5 | length of the data before compression, a protobuf varint |
//! | rest | the compressed data |
//!
//! A whole aggregate can be in it, or the data of one user record. Other consumers do not know it. Data
//! that happens to look like an envelope is put into one, stored, so that a reader gives it back as it
//! was.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

const MAGIC: [u8; 4] = [0xB1, 0x5A, 0x4C, 0xD7];

/// How data is compressed, and how hard.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Compression {
    /// gzip, level 0 (stored) to 9 (smallest); 6 is usual. Higher numbers count as 9.
    Gzip(u32),
    /// zstd, level −7 (quickest) to 22 (smallest); 3 is usual. Numbers beyond count as the nearest.
    Zstd(i32),
}

/// Why an envelope could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The data would be larger than the reader allows.
    #[error(
        "the data takes {size} bytes when it is expanded, more than the {limit} that are allowed"
    )]
    TooLarge {
        /// What the envelope says.
        size: u64,
        /// What the reader allows.
        limit: usize,
    },
    /// Compressed in a way that this version does not know.
    #[error("the data is compressed with codec {0}, which is not known")]
    UnknownCodec(u8),
    /// The envelope is whole, and what it holds is not what it says.
    #[error("the data cannot be expanded: {0}")]
    Corrupt(String),
}

/// Why data could not be compressed.
#[derive(Debug, thiserror::Error)]
#[error("the data cannot be compressed: {0}")]
pub struct CompressError(#[from] std::io::Error);

/// Data in an envelope, compressed; none if that is no smaller: then the data is sent as it is. Data
/// that looks like an envelope is always put into one.
///
/// # Errors
/// What the codec reports; none is known for data in memory.
pub fn compress(compression: Compression, data: &[u8]) -> Result<Option<Vec<u8>>, CompressError> {
    let (codec, body) = match compression {
        Compression::Gzip(level) => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(level.min(9)));
            encoder.write_all(data)?;
            (1, encoder.finish()?)
        }
        Compression::Zstd(level) => (2, zstd::bulk::compress(data, level.clamp(-7, 22))?),
    };
    let compressed = seal(codec, data.len(), &body);
    if compressed.len() < data.len() {
        return Ok(Some(compressed));
    }
    Ok(open(data).is_some().then(|| seal(0, data.len(), data)))
}

/// Whether [`expand`] takes this data for an envelope. Costs a CRC-32 of the data only if it starts
/// with the four bytes.
#[must_use]
pub fn is_compressed(data: &[u8]) -> bool {
    open(data).is_some()
}

/// What is in the envelope; data that is no envelope comes back as it is. Envelopes in envelopes are
/// not opened.
///
/// # Errors
/// [`ExpandError`]; nothing larger than `limit` bytes is ever made.
pub fn expand(data: &Bytes, limit: usize) -> Result<Bytes, ExpandError> {
    let Some(Opened { codec, size, body }) = open(data) else {
        return Ok(data.clone());
    };
    let too_large = || ExpandError::TooLarge { size, limit };
    let length = usize::try_from(size).map_err(|_| too_large())?;
    if length > limit {
        return Err(too_large());
    }
    let corrupt = |error: std::io::Error| ExpandError::Corrupt(error.to_string());
    let expanded = match codec {
        0 => data.slice_ref(body),
        1 => {
            let mut expanded = Vec::with_capacity(length);
            let mut decoder = GzDecoder::new(body).take(size.saturating_add(1));
            decoder.read_to_end(&mut expanded).map_err(corrupt)?;
            expanded.into()
        }
        2 => zstd::bulk::decompress(body, length)
            .map_err(corrupt)?
            .into(),
        other => return Err(ExpandError::UnknownCodec(other)),
    };
    if expanded.len() != length {
        let found = expanded.len();
        return Err(ExpandError::Corrupt(format!(
            "{found} bytes instead of {length}, or more"
        )));
    }
    Ok(expanded)
}

fn seal(codec: u8, length: usize, body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(body.len() + 14);
    sealed.extend_from_slice(&MAGIC);
    sealed.extend_from_slice(&[0; 4]);
    sealed.push(codec);
    prost::encoding::encode_varint(u64::try_from(length).unwrap_or(u64::MAX), &mut sealed);
    sealed.extend_from_slice(body);
    let (head, rest) = sealed.split_at_mut(8);
    let check = crc32fast::hash(rest).to_be_bytes();
    for (place, byte) in head.iter_mut().skip(4).zip(check) {
        *place = byte;
    }
    sealed
}

struct Opened<'a> {
    codec: u8,
    size: u64,
    body: &'a [u8],
}

fn open(data: &[u8]) -> Option<Opened<'_>> {
    let (check, rest) = data.strip_prefix(&MAGIC)?.split_first_chunk()?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*check) {
        return None;
    }
    let (codec, mut body) = rest.split_first()?;
    let size = prost::encoding::decode_varint(&mut body).ok()?;
    Some(Opened {
        codec: *codec,
        size,
        body,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_compression() -> impl Strategy<Value = Compression> {
        prop_oneof![
            (0_u32..12).prop_map(Compression::Gzip),
            (-9_i32..6).prop_map(Compression::Zstd),
        ]
    }

    #[test]
    fn the_bytes() {
        let data = vec![b'a'; 1000];
        for (compression, codec, start) in [
            (Compression::Gzip(6), 1, &[0x1f, 0x8b][..]),
            (Compression::Zstd(3), 2, &[0x28, 0xb5, 0x2f, 0xfd]),
        ] {
            let sealed = compress(compression, &data).unwrap().unwrap();
            assert_eq!(sealed[..4], MAGIC);
            // 1000 as a varint.
            assert_eq!(sealed[8..11], [codec, 0xe8, 0x07]);
            assert!(sealed[11..].starts_with(start));
            assert!(sealed.len() < 60);
            assert_eq!(expand(&Bytes::from(sealed), 1000).unwrap(), data);
        }
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is_unless_it_looks_compressed() {
        let compression = Compression::Zstd(3);
        assert_eq!(compress(compression, b"short").unwrap(), None);
        assert_eq!(compress(compression, b"").unwrap(), None);
        let envelope = seal(0, 1, b"x");
        let wrapped = Bytes::from(compress(compression, &envelope).unwrap().unwrap());
        assert_eq!(wrapped[8], 0, "stored");
        assert_eq!(expand(&wrapped, 100).unwrap(), envelope);
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let data = vec![0; 10 << 20];
        for compression in [Compression::Gzip(9), Compression::Zstd(19)] {
            let sealed = Bytes::from(compress(compression, &data).unwrap().unwrap());
            assert!(sealed.len() < 20_000);
            let refused = expand(&sealed, data.len() - 1).unwrap_err();
            assert!(matches!(refused, ExpandError::TooLarge { size, .. } if size == 10 << 20));
            // One that says it is small.
            let Opened { codec, body, .. } = open(&sealed).unwrap();
            let liar = Bytes::from(seal(codec, 1000, body));
            assert!(matches!(
                expand(&liar, 1 << 30),
                Err(ExpandError::Corrupt(_))
            ));
            let liar = Bytes::from(seal(codec, data.len() + 1, body));
            assert!(matches!(
                expand(&liar, 1 << 30),
                Err(ExpandError::Corrupt(_))
            ));
        }
        let boast = Bytes::from(seal(0, usize::MAX, b"x"));
        assert!(matches!(
            expand(&boast, usize::MAX),
            Err(ExpandError::Corrupt(_))
        ));
        let unknown = Bytes::from(seal(9, 1, b"x"));
        assert!(matches!(
            expand(&unknown, 10),
            Err(ExpandError::UnknownCodec(9))
        ));
    }

    proptest! {
        #[test]
        fn comes_back(data in prop::collection::vec(0_u8..4, 0..600), with in any_compression()) {
            let sent = compress(with, &data).unwrap().map_or_else(|| data.clone(), |sealed| {
                assert!(sealed.len() < data.len());
                sealed
            });
            prop_assert_eq!(expand(&Bytes::from(sent), data.len()).unwrap(), data);
        }

        #[test]
        fn any_bytes_are_an_answer(
            body in prop::collection::vec(any::<u8>(), 0..60),
            codec in 0_u8..4,
            length in 0_usize..100,
        ) {
            let sealed = Bytes::from(seal(codec, length, &body));
            if let Ok(expanded) = expand(&sealed, 50) {
                prop_assert_eq!(expanded.len(), length);
            }
            // Without the right check value it is no envelope, whatever it holds.
            let mut changed = sealed.to_vec();
            changed[5] ^= 1;
            let changed = Bytes::from(changed);
            prop_assert!(!is_compressed(&changed));
            prop_assert_eq!(expand(&changed, 0).unwrap(), changed);
            let raw = Bytes::from(body);
            prop_assert_eq!(expand(&raw, 0).unwrap(), raw);
        }
    }
}
