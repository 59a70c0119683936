//! Lines: a newline ends a record and stays in it; nothing else is changed. A line over the limit is
//! cut, and its last bytes become the terminator.

use bytes::Bytes;
use std::ops::Range;

/// The original's limit of a record in bytes, the partition key's included.
pub const RECORD_LIMIT: usize = 1_048_576;

/// One line and where it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The bytes of the file that it covers, its newline included.
    pub range: Range<u64>,
    /// What is to be sent: the line with its newline, or as much as fits.
    pub data: Bytes,
}

/// The complete lines of a block that starts at `at`. What follows the last newline is left for the
/// next block.
#[must_use]
pub fn lines(block: &Bytes, at: u64) -> Vec<Line> {
    let mut start = at;
    block
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .map(|line| {
            let end = start + line.len() as u64;
            let range = start..end;
            start = end;
            Line {
                range,
                data: block.slice_ref(line),
            }
        })
        .collect()
}

/// Cuts a record to `limit` bytes, of which the last are the terminator; `None` when it fits.
#[must_use]
pub fn cut(data: &Bytes, limit: usize, terminator: &[u8]) -> Option<Bytes> {
    if data.len() <= limit {
        return None;
    }
    let kept = limit.saturating_sub(terminator.len());
    let mut record = Vec::with_capacity(limit);
    record.extend_from_slice(data.get(..kept).unwrap_or(data));
    record.extend_from_slice(terminator);
    record.truncate(limit);
    Some(Bytes::from(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(block: &str) -> Vec<String> {
        lines(&Bytes::copy_from_slice(block.as_bytes()), 0)
            .into_iter()
            .map(|line| String::from_utf8(line.data.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_newline_ends_a_record_and_stays_in_it() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("a", &[]),
            ("a\n", &["a\n"]),
            ("a\nb", &["a\n"]),
            ("a\n\n\nb\n", &["a\n", "\n", "\n", "b\n"]),
            ("a\r\nb\r\n", &["a\r\n", "b\r\n"]),
            ("a\rb\n", &["a\rb\n"]),
            ("é\u{2028}x\n", &["é\u{2028}x\n"]),
        ];
        for (block, expected) in cases {
            assert_eq!(split(block), expected, "{block:?}");
        }
    }

    #[test]
    fn any_bytes_pass_unchanged() {
        let block = Bytes::from_static(b"\xff\x00\xfe\n\x80");
        let found = lines(&block, 100);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].data, b"\xff\x00\xfe\n".as_slice());
        assert_eq!(found[0].range, 100..104);
    }

    #[test]
    fn a_record_over_the_limit_keeps_the_limit_and_ends_in_the_terminator() {
        let data = Bytes::from_static(b"0123456789\n");
        type Case = (usize, &'static [u8], Option<&'static [u8]>);
        let cases: [Case; 6] = [
            (11, b"\n", None),
            (10, b"\n", Some(b"012345678\n")),
            (5, b"<T>", Some(b"01<T>")),
            (5, b"", Some(b"01234")),
            (2, b"<T>", Some(b"<T")),
            (0, b"\n", Some(b"")),
        ];
        for (limit, terminator, expected) in cases {
            assert_eq!(
                cut(&data, limit, terminator).as_deref(),
                expected,
                "{limit}"
            );
        }
        let long = Bytes::from(vec![b'x'; RECORD_LIMIT + 1]);
        let record = cut(&long, RECORD_LIMIT - 18, b"\n").unwrap();
        assert_eq!((record.len(), record[record.len() - 1]), (1_048_558, b'\n'));
    }

    proptest! {
        #[test]
        fn lines_and_the_rest_are_the_block(text in "[ab\n]{0,200}", at in 0u64..1000) {
            let block = Bytes::copy_from_slice(text.as_bytes());
            let found = lines(&block, at);
            let mut joined: Vec<u8> = Vec::new();
            for line in &found {
                prop_assert_eq!(line.range.start, at + joined.len() as u64);
                joined.extend_from_slice(&line.data);
                prop_assert_eq!(line.range.end, at + joined.len() as u64);
                prop_assert_eq!(line.data.iter().filter(|b| **b == b'\n').count(), 1);
            }
            let rest = &text.as_bytes()[joined.len()..];
            prop_assert!(!rest.contains(&b'\n'));
            prop_assert_eq!(&text.as_bytes()[..joined.len()], joined.as_slice());
        }
    }
}
