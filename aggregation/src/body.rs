//! The protobuf body as spans of its bytes: what is where, nothing resolved yet.

use std::ops::Range;

use crate::wire::{Malformed, Reader, Span, tag};

/// Tables and records in the order of their own kind, wherever in the body they stood.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) partition_keys: Vec<Span>,
    pub(crate) explicit_hash_keys: Vec<Span>,
    pub(crate) records: Vec<RawRecord>,
    /// The tags of all records; each record knows its stretch.
    pub(crate) tags: Vec<RawTag>,
}

/// A user record before its indices are looked up. Indices are Java's `int` of the 64-bit number.
#[derive(Clone, Debug)]
pub(crate) struct RawRecord {
    pub(crate) partition_key: u32,
    pub(crate) explicit_hash_key: Option<u32>,
    pub(crate) data: Span,
    tags: Span,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct RawTag {
    pub(crate) key: Span,
    pub(crate) value: Option<Span>,
}

impl RawRecord {
    pub(crate) fn tags(&self) -> Range<usize> {
        self.tags.range()
    }
}

impl Body {
    /// Reads the message that lies in `span` of `data`. A field of a known number but another wire
    /// type is an unknown field; of a field that comes twice the last counts; a record without key
    /// index or data, or a tag without key, spoils the whole message.
    pub(crate) fn parse(data: &[u8], span: Span) -> Result<Self, Malformed> {
        let mut body = Body::default();
        let mut reader = Reader::new(data, span);
        while let Some(tag) = reader.tag()? {
            match u8::try_from(tag) {
                Ok(tag::TABLE_PARTITION_KEY) => body.partition_keys.push(reader.bytes()?),
                Ok(tag::TABLE_EXPLICIT_HASH_KEY) => body.explicit_hash_keys.push(reader.bytes()?),
                Ok(tag::RECORD) => {
                    let span = reader.bytes()?;
                    let record = RawRecord::parse(reader.message(span), &mut body.tags)?;
                    body.records.push(record);
                }
                _ => reader.skip_field(tag)?,
            }
        }
        Ok(body)
    }
}

impl RawRecord {
    /// Reads one record and appends its tags to `tags`.
    pub(crate) fn parse(mut reader: Reader<'_>, tags: &mut Vec<RawTag>) -> Result<Self, Malformed> {
        let mut partition_key = None;
        let mut explicit_hash_key = None;
        let mut data = None;
        let start = position(tags)?;
        while let Some(tag) = reader.tag()? {
            match u8::try_from(tag) {
                Ok(tag::RECORD_PARTITION_KEY_INDEX) => partition_key = Some(reader.varint_low()?),
                Ok(tag::RECORD_EXPLICIT_HASH_KEY_INDEX) => {
                    explicit_hash_key = Some(reader.varint_low()?);
                }
                Ok(tag::RECORD_DATA) => data = Some(reader.bytes()?),
                Ok(tag::RECORD_TAG) => {
                    let span = reader.bytes()?;
                    tags.push(RawTag::parse(reader.message(span))?);
                }
                _ => reader.skip_field(tag)?,
            }
        }
        Ok(RawRecord {
            partition_key: partition_key.ok_or(Malformed)?,
            explicit_hash_key,
            data: data.ok_or(Malformed)?,
            tags: Span {
                start,
                end: position(tags)?,
            },
        })
    }
}

fn position(tags: &[RawTag]) -> Result<u32, Malformed> {
    u32::try_from(tags.len()).map_err(|_| Malformed)
}

impl RawTag {
    fn parse(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let mut key = None;
        let mut value = None;
        while let Some(tag) = reader.tag()? {
            match u8::try_from(tag) {
                Ok(tag::TAG_KEY) => key = Some(reader.bytes()?),
                Ok(tag::TAG_VALUE) => value = Some(reader.bytes()?),
                _ => reader.skip_field(tag)?,
            }
        }
        Ok(RawTag {
            key: key.ok_or(Malformed)?,
            value,
        })
    }
}
