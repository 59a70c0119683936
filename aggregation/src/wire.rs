//! The envelope, and protobuf's parts: tags, variable-length integers, skipping.

use prost::encoding::{encode_varint, encoded_len_varint};

/// The four bytes that an aggregate starts with.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes that an aggregate takes beside its protobuf body: the magic and the MD5 of the body.
pub const ENVELOPE_SIZE: usize = MAGIC.len() + MD5_SIZE;

/// The partition key of a Kinesis record that carries an aggregate, as the KPL sets it. The explicit
/// hash key does the routing.
pub const AGGREGATE_PARTITION_KEY: &str = "a";

const MD5_SIZE: usize = 16;

/// Field numbers of the three messages; a tag is `number << 3 | wire type`. All are below 16, so
/// that each tag is one byte.
pub(crate) mod tag {
    pub(crate) const TABLE_PARTITION_KEY: u8 = 0x0A;
    pub(crate) const TABLE_EXPLICIT_HASH_KEY: u8 = 0x12;
    pub(crate) const RECORD: u8 = 0x1A;

    pub(crate) const RECORD_PARTITION_KEY_INDEX: u8 = 0x08;
    pub(crate) const RECORD_EXPLICIT_HASH_KEY_INDEX: u8 = 0x10;
    pub(crate) const RECORD_DATA: u8 = 0x1A;
    pub(crate) const RECORD_TAG: u8 = 0x22;

    pub(crate) const TAG_KEY: u8 = 0x0A;
    pub(crate) const TAG_VALUE: u8 = 0x12;
}

/// The body and the MD5 that `data` claims for it: magic, at least one byte, 16 bytes.
pub(crate) fn envelope(data: &[u8]) -> Option<(&[u8], &[u8; MD5_SIZE])> {
    let (body, md5) = data.strip_prefix(&MAGIC)?.split_last_chunk()?;
    if body.is_empty() {
        None
    } else {
        Some((body, md5))
    }
}

/// Size of a field of bytes: tag, length, bytes.
pub(crate) fn bytes_field_len(length: usize) -> usize {
    1 + varint_len(length) + length
}

/// Size of a field that holds an index.
pub(crate) fn index_field_len(index: usize) -> usize {
    1 + varint_len(index)
}

fn varint_len(value: usize) -> usize {
    // usize is at most 64 bits wide on every platform there is.
    encoded_len_varint(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Tags and their numbers on their way into a buffer: put together in a register, written at once.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: u128,
    /// How many bytes, from the lowest on.
    len: usize,
}

impl Head {
    const ROOM: usize = size_of::<u128>();

    #[inline]
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, tag: u8, mut value: usize) {
        if self.len + index_field_len(value) > Self::ROOM {
            self.write(out);
        }
        self.byte(tag);
        while value >= 0x80 {
            self.byte(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.byte(low_bits(value));
    }

    fn byte(&mut self, byte: u8) {
        self.bytes |= u128::from(byte) << (8 * self.len);
        self.len += 1;
    }

    /// Writes what there is.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        let Self { bytes, len } = std::mem::take(self);
        let whole = out.len() + len;
        // A copy of fixed length costs less: what is too much is cut off.
        out.extend_from_slice(&bytes.to_le_bytes());
        out.truncate(whole);
    }
}

fn low_bits(value: usize) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

/// Writes tag and length of a field whose bytes follow.
pub(crate) fn put_header(out: &mut Vec<u8>, tag: u8, value: usize) {
    out.push(tag);
    match u8::try_from(value) {
        Ok(byte @ 0..0x80) => out.push(byte),
        _ => encode_varint(u64::try_from(value).unwrap_or(u64::MAX), out),
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    put_header(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// A stretch of the input.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        // u32 fits every usize that this can be built for; an impossible value selects nothing.
        usize::try_from(self.start).unwrap_or(usize::MAX)
            ..usize::try_from(self.end).unwrap_or(usize::MAX)
    }

    pub(crate) fn of(self, data: &[u8]) -> &[u8] {
        data.get(self.range()).unwrap_or_default()
    }
}

/// Protobuf's bytes are bad: cut, a tag of field 0, an unknown wire type, a group not ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// How deep messages and groups may nest, as in the Java reader.
const MAX_DEPTH: u32 = 100;

/// Reads protobuf as the Java reader does. Where that is laxer than the specification of the
/// format (high bits of over-long integers are dropped), so is this: the same aggregates must be
/// taken, and passed through, by both.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    data: &'a [u8],
    at: u32,
    end: u32,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// Reads `span` of `data`, which is no longer than `u32::MAX`.
    pub(crate) fn new(data: &'a [u8], span: Span) -> Self {
        Reader {
            data,
            at: span.start,
            end: span.end,
            depth: 0,
        }
    }

    /// Reads an embedded message.
    pub(crate) fn message(&self, span: Span) -> Self {
        Reader {
            data: self.data,
            at: span.start,
            end: span.end,
            depth: self.depth + 1,
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        if self.at >= self.end {
            return Err(Malformed);
        }
        let at = usize::try_from(self.at).map_err(|_| Malformed)?;
        let byte = *self.data.get(at).ok_or(Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    /// Up to ten bytes; what does not fit 64 bits is dropped.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// An integer that Java casts to `int`: its low 32 bits.
    pub(crate) fn varint_low(&mut self) -> Result<u32, Malformed> {
        self.varint().map(low_32_bits)
    }

    /// The next field's number and wire type together; `None` at the end.
    pub(crate) fn tag(&mut self) -> Result<Option<u32>, Malformed> {
        if self.at >= self.end {
            return Ok(None);
        }
        let tag = self.varint_low()?;
        if tag >> 3 == 0 {
            Err(Malformed)
        } else {
            Ok(Some(tag))
        }
    }

    /// A field of bytes: where they are.
    pub(crate) fn bytes(&mut self) -> Result<Span, Malformed> {
        let length = self.varint_low()?;
        let start = self.at;
        self.skip(length)?;
        Ok(Span {
            start,
            end: self.at,
        })
    }

    fn skip(&mut self, length: u32) -> Result<(), Malformed> {
        match self.at.checked_add(length) {
            Some(at) if at <= self.end => {
                self.at = at;
                Ok(())
            }
            _ => Err(Malformed),
        }
    }

    /// Skips the value of a field that is not known.
    pub(crate) fn skip_field(&mut self, tag: u32) -> Result<(), Malformed> {
        match tag & 7 {
            0 => self.varint().map(drop),
            1 => self.skip(8),
            2 => self.bytes().map(drop),
            3 => self.skip_group(tag),
            5 => self.skip(4),
            // The end of a group that never began, or no wire type at all.
            _ => Err(Malformed),
        }
    }

    fn skip_group(&mut self, start: u32) -> Result<(), Malformed> {
        if self.depth >= MAX_DEPTH {
            return Err(Malformed);
        }
        self.depth += 1;
        while let Some(tag) = self.tag()? {
            if tag & 7 == 4 {
                self.depth -= 1;
                return if tag >> 3 == start >> 3 {
                    Ok(())
                } else {
                    Err(Malformed)
                };
            }
            self.skip_field(tag)?;
        }
        Err(Malformed)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other bits are to be dropped"
)]
fn low_32_bits(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(data: &[u8]) -> Reader<'_> {
        Reader::new(
            data,
            Span {
                start: 0,
                end: u32::try_from(data.len()).unwrap(),
            },
        )
    }

    #[test]
    fn a_head_is_what_its_fields_are_one_by_one() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 28, usize::MAX];
        for first in numbers {
            for second in numbers {
                let (mut at_once, mut one_by_one) = (vec![7], vec![7]);
                let mut head = Head::default();
                for (tag, number) in [(0x1a, first), (0x08, second), (0x10, first), (0x1a, 3)] {
                    head.put(&mut at_once, tag, number);
                    put_header(&mut one_by_one, tag, number);
                }
                head.write(&mut at_once);
                assert_eq!(at_once, one_by_one, "{first} {second}");
            }
        }
    }

    #[test]
    fn integers() {
        for (bytes, want) in [
            (&[0x00][..], Ok(0)),
            (&[0x80, 0x80, 0x00], Ok(0)),
            (&[0xAC, 0x02], Ok(300)),
            (
                &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
                Ok(u64::MAX),
            ),
            // The tenth byte has one bit that fits.
            (
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7F],
                Ok(1 << 63),
            ),
            (
                &[
                    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
                ],
                Err(Malformed),
            ),
            (&[0x80], Err(Malformed)),
            (&[], Err(Malformed)),
        ] {
            assert_eq!(reader(bytes).varint(), want, "{bytes:x?}");
        }
        assert_eq!(reader(&[0x80, 0x80, 0x80, 0x80, 0x10]).varint_low(), Ok(0));
    }

    #[test]
    fn written_lengths_are_as_announced() {
        for value in [
            0, 1, 127, 128, 255, 256, 16383, 16384, 2_097_151, 2_097_152, 10_485_760,
        ] {
            let mut out = Vec::new();
            put_header(&mut out, tag::RECORD, value);
            assert_eq!(out.len(), index_field_len(value));
            assert_eq!(out.len() + value, bytes_field_len(value));
            let mut reader = reader(&out);
            assert_eq!(reader.tag(), Ok(Some(u32::from(tag::RECORD))));
            assert_eq!(reader.varint(), Ok(value as u64));
        }
    }

    #[test]
    fn skipping() {
        for (how, bytes, want) in [
            ("integer", &[0x48, 0x80, 0x01][..], Ok(())),
            ("integer cut", &[0x48, 0x80], Err(Malformed)),
            ("eight bytes", &[0x49, 1, 2, 3, 4, 5, 6, 7, 8], Ok(())),
            (
                "eight bytes cut",
                &[0x49, 1, 2, 3, 4, 5, 6, 7],
                Err(Malformed),
            ),
            ("four bytes", &[0x4D, 1, 2, 3, 4], Ok(())),
            ("bytes", &[0x4A, 2, 1, 2], Ok(())),
            ("bytes cut", &[0x4A, 2, 1], Err(Malformed)),
            (
                "bytes of negative length",
                &[0x4A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
                Err(Malformed),
            ),
            ("group", &[0x4B, 0x08, 1, 0x4C], Ok(())),
            ("group in group", &[0x4B, 0x53, 0x54, 0x4C], Ok(())),
            ("group ended by another", &[0x4B, 0x54], Err(Malformed)),
            ("group not ended", &[0x4B, 0x08, 1], Err(Malformed)),
            ("end without group", &[0x4C], Err(Malformed)),
            ("wire type 6", &[0x4E], Err(Malformed)),
            ("wire type 7", &[0x4F], Err(Malformed)),
            ("field 0", &[0x00, 0x00], Err(Malformed)),
        ] {
            let mut reader = reader(bytes);
            let got = reader.tag().and_then(|tag| reader.skip_field(tag.unwrap()));
            assert_eq!(got, want, "{how}");
            if want.is_ok() {
                assert_eq!(reader.tag(), Ok(None), "{how}: all is read");
            }
        }
    }

    #[test]
    fn groups_nest_a_hundred_deep() {
        for (depth, want) in [
            (100, Ok(())),
            (101, Err(Malformed)),
            (100_000, Err(Malformed)),
        ] {
            let bytes = [vec![0x4B; depth], vec![0x4C; depth]].concat();
            let mut reader = reader(&bytes);
            let tag = reader.tag().unwrap().unwrap();
            assert_eq!(reader.skip_field(tag), want, "{depth}");
        }
    }

    #[test]
    fn envelopes() {
        let whole = |body: &[u8]| [&MAGIC, body, &[7; 16]].concat();
        assert_eq!(envelope(&whole(b"x")), Some((&b"x"[..], &[7; 16])));
        assert_eq!(envelope(&whole(b"")), None);
        assert_eq!(envelope(&MAGIC), None);
        assert_eq!(envelope(b""), None);
        assert_eq!(envelope(&whole(b"x")[1..]), None);
    }
}
