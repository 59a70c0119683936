//! Who made a user record, and which of that maker's records it is: carried in the tags of the
//! aggregate, which every known reader ignores.
//!
//! A producer's *incarnation* is a random number that it takes at its start. Within it records are
//! numbered in *series* (one for each open aggregate's lane, so that neighbours in an aggregate have
//! neighbouring numbers). The first record of an aggregate has a tag named `#`; a record without one is
//! the successor of the record before it. So an aggregate costs one tag, however many records it has,
//! unless records of several series were mixed by a reshard.
//!
//! The tag's value is `INCARNATION.SERIES.NUMBER`, or `.SERIES.NUMBER` where the incarnation is that of
//! the record before. The numbers are written to the base 64 with the digits `0-9A-Za-z-_`, the most
//! significant first, without leading zeros.

use std::fmt;

/// The name of the tag that carries a [`RecordId`].
pub const IDENTITY_TAG: &str = "#";

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// Which user record this is, the world over: two with the same id are the same record, stored twice.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordId {
    /// The life of the producer that took the record: a random number.
    pub incarnation: u64,
    /// The series within it.
    pub series: u64,
    /// The number within the series.
    pub number: u64,
}

impl RecordId {
    fn successor(self) -> Option<Self> {
        let number = self.number.checked_add(1)?;
        Some(RecordId { number, ..self })
    }
}

/// Finds the tag that each record of one aggregate needs, in the order in which they are appended.
///
/// ```
/// use aggregation::{IDENTITY_TAG, Aggregate, IdentityWriter, RecordId, UserRecordRef};
///
/// let mut aggregate = Aggregate::new();
/// let mut identity = IdentityWriter::default();
/// for number in 0..3 {
///     let id = RecordId { incarnation: 0x1234_5678, series: 1, number };
///     let text = identity.tag(id);
///     let tag = text.as_ref().map(|text| (IDENTITY_TAG, Some(text.as_str())));
///     aggregate.push(&UserRecordRef {
///         partition_key: "a",
///         explicit_hash_key: None,
///         data: b"data",
///         tags: tag.as_slice(),
///     });
///     identity.wrote(id);
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct IdentityWriter {
    last: Option<RecordId>,
}

impl IdentityWriter {
    /// The value of the tag that the record needs if it comes next; none if it needs no tag.
    #[must_use]
    pub fn tag(&self, id: RecordId) -> Option<IdentityText> {
        if self.last.and_then(RecordId::successor) == Some(id) {
            return None;
        }
        let mut text = IdentityText {
            bytes: [0; LONGEST],
            length: 0,
        };
        if self
            .last
            .is_none_or(|last| last.incarnation != id.incarnation)
        {
            text.put_number(id.incarnation);
        }
        text.put(b'.');
        text.put_number(id.series);
        text.put(b'.');
        text.put_number(id.number);
        Some(text)
    }

    /// The record was appended, with the tag that it needed.
    pub fn wrote(&mut self, id: RecordId) {
        self.last = Some(id);
    }
}

/// Three numbers of up to eleven digits, and two points.
const LONGEST: usize = 3 * 11 + 2;

/// The value of a tag.
#[derive(Copy, Clone)]
pub struct IdentityText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl IdentityText {
    /// The text; ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn put(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn put_number(&mut self, number: u64) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(6).max(1);
        for place in (0..digits).rev() {
            let digit = usize::try_from((number >> (6 * place)) & 63).unwrap_or_default();
            self.put(DIGITS.get(digit).copied().unwrap_or_default());
        }
    }
}

impl fmt::Debug for IdentityText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Tells the id of each record of one aggregate, asked in their order.
#[derive(Clone, Debug, Default)]
pub struct IdentityReader {
    last: Option<RecordId>,
}

impl IdentityReader {
    /// The id of the record with these tags, names and values; none if its producer gave none, or one
    /// that cannot be read: such a record counts as new wherever it comes again.
    pub fn next<'t>(
        &mut self,
        tags: impl IntoIterator<Item = (&'t str, Option<&'t str>)>,
    ) -> Option<RecordId> {
        let tag = tags.into_iter().find(|(name, _)| *name == IDENTITY_TAG);
        self.last = match tag {
            Some((_, value)) => value.and_then(|value| parse(value, self.last)),
            None => self.last.and_then(RecordId::successor),
        };
        self.last
    }
}

fn parse(value: &str, last: Option<RecordId>) -> Option<RecordId> {
    let mut parts = value.split('.');
    let (incarnation, series, number) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let incarnation = if incarnation.is_empty() {
        last?.incarnation
    } else {
        parse_number(incarnation)?
    };
    Some(RecordId {
        incarnation,
        series: parse_number(series)?,
        number: parse_number(number)?,
    })
}

/// The one form that [`IdentityText`] writes.
fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        Some(number.checked_mul(64)? | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{Aggregate, Deaggregated, UserRecordRef, deaggregate};

    fn id(incarnation: u64, series: u64, number: u64) -> RecordId {
        RecordId {
            incarnation,
            series,
            number,
        }
    }

    fn aggregate_of(ids: &[RecordId], data: &[u8]) -> Bytes {
        let mut aggregate = Aggregate::new();
        let mut writer = IdentityWriter::default();
        for id in ids {
            let text = writer.tag(*id);
            let tag = text
                .as_ref()
                .map(|text| (IDENTITY_TAG, Some(text.as_str())));
            let tags = tag.as_slice();
            let record = UserRecordRef {
                partition_key: "key",
                explicit_hash_key: None,
                data,
                tags,
            };
            let size = aggregate.size_with(&record);
            aggregate.push(&record);
            assert_eq!(aggregate.size(), size);
            writer.wrote(*id);
        }
        aggregate.finish().to_bytes()
    }

    fn ids_of(data: &Bytes) -> Vec<Option<RecordId>> {
        let Deaggregated::Records(records) = deaggregate(data, None) else {
            panic!("not an aggregate");
        };
        let mut reader = IdentityReader::default();
        records
            .map(|record| {
                let tags = record.tags.iter();
                reader.next(tags.map(|tag| (tag.key.as_str(), tag.value.as_deref())))
            })
            .collect()
    }

    #[test]
    fn the_text() {
        let mut writer = IdentityWriter::default();
        let text = |writer: &IdentityWriter, id| writer.tag(id).map(|t| t.as_str().to_owned());
        assert_eq!(text(&writer, id(0, 0, 0)).unwrap(), "0.0.0");
        assert_eq!(text(&writer, id(63, 64, 4095)).unwrap(), "_.10.__");
        let top = u64::MAX;
        let longest = "F__________.F__________.F__________";
        assert_eq!(text(&writer, id(top, top, top)).unwrap(), longest);
        writer.wrote(id(5, 1, 7));
        assert_eq!(text(&writer, id(5, 1, 8)), None);
        assert_eq!(text(&writer, id(5, 1, 9)).unwrap(), ".1.9");
        assert_eq!(text(&writer, id(5, 2, 8)).unwrap(), ".2.8");
        assert_eq!(text(&writer, id(6, 1, 8)).unwrap(), "6.1.8");
        writer.wrote(id(5, 1, top));
        assert_eq!(
            text(&writer, id(5, 1, 0)).unwrap(),
            ".1.0",
            "numbers do not wrap"
        );
    }

    #[test]
    fn texts_that_are_no_id() {
        for value in [
            "",
            ".",
            "..",
            "1.2",
            "1.2.3.4",
            "1..3",
            "1.2.",
            "01.2.3",
            "1.2.03",
            "1.2.+3",
            "1.2.é",
            "G0000000000.0.0",
            ".1.2",
        ] {
            let mut reader = IdentityReader::default();
            assert_eq!(
                reader.next([(IDENTITY_TAG, Some(value))]),
                None,
                "{value:?}"
            );
            assert_eq!(reader.next([]), None, "nothing follows {value:?}");
        }
        let mut reader = IdentityReader::default();
        assert_eq!(reader.next([(IDENTITY_TAG, None)]), None);
        assert_eq!(reader.next([("other", Some("1.2.3"))]), None);
    }

    /// The cost of an id: that of an aggregate without it is taken from one of the same records.
    #[test]
    fn at_most_four_bytes_a_record() {
        let plain = |count: usize, data: &[u8]| {
            let mut aggregate = Aggregate::new();
            for _ in 0..count {
                let record = UserRecordRef {
                    partition_key: "key",
                    explicit_hash_key: None,
                    data,
                    tags: &[],
                };
                aggregate.push(&record);
            }
            aggregate.size()
        };
        // From nine records on, with the longest incarnation and numbers of a long life.
        for (count, data) in [(9, 5000), (50, 1000), (400, 100)] {
            let data = vec![7; data];
            let ids: Vec<RecordId> = (0..count)
                .map(|n| id(u64::MAX, 4000, (1 << 40) + n))
                .collect();
            let with = aggregate_of(&ids, &data).len();
            let without = plain(ids.len(), &data);
            assert!(with - without <= 4 * ids.len(), "{} bytes", with - without);
            assert!(with - without <= 40);
        }
    }

    proptest! {
        #[test]
        fn ids_come_back(
            runs in prop::collection::vec((any::<u64>(), 0_u64..3, any::<u64>(), 1_u64..6), 1..12),
        ) {
            let ids: Vec<RecordId> = runs
                .iter()
                .flat_map(|&(incarnation, series, number, count)| {
                    (0..count).map(move |n| id(incarnation % 3, series, number.saturating_add(n)))
                })
                .collect();
            let want: Vec<_> = ids.iter().copied().map(Some).collect();
            prop_assert_eq!(ids_of(&aggregate_of(&ids, b"x")), want);
        }

        #[test]
        fn any_value_is_an_answer(values in prop::collection::vec("[0-9A-Za-z_.-]{0,20}", 1..6)) {
            let mut reader = IdentityReader::default();
            for value in &values {
                if let Some(id) = reader.next([(IDENTITY_TAG, Some(value.as_str()))]) {
                    let written = IdentityWriter::default().tag(id).unwrap();
                    prop_assert!(written.as_str().ends_with(value.as_str()));
                }
            }
        }
    }
}
