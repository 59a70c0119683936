//! JSON as programs write it, read fast: no escapes, no line breaks, small whole numbers. Whatever else
//! comes, right or wrong, is left to the general reader, so that both give the same documents and all
//! errors are the general reader's.

use super::Document;
use std::borrow::Cow;

/// Deeper is left to the general reader.
const MAX_DEPTH: usize = 16;
/// Longer numbers are left to the general reader.
const MAX_DIGITS: usize = 18;

/// Reads a document; none when the general reader has to look.
pub(super) fn read(body: &[u8]) -> Option<Document<'_>> {
    let mut reader = Reader { rest: body };
    let document = reader.value(0)?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(document)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Document<'a>> {
        self.skip_blanks();
        match self.rest.first()? {
            b'"' => self.text().map(|text| Document::Text(Cow::Borrowed(text))),
            b'{' if depth < MAX_DEPTH => self.map(depth),
            b'[' if depth < MAX_DEPTH => self.list(depth),
            b'0'..=b'9' => self.integer(),
            b't' => self.word(b"true", Document::Bool(true)),
            b'f' => self.word(b"false", Document::Bool(false)),
            b'n' => self.word(b"null", Document::Null),
            _ => None,
        }
    }

    fn map(&mut self, depth: usize) -> Option<Document<'a>> {
        self.take(b'{')?;
        let mut members = Vec::new();
        self.skip_blanks();
        if self.take(b'}').is_some() {
            return Some(Document::Map(members));
        }
        members.reserve(4);
        loop {
            self.skip_blanks();
            let name = self.text()?;
            self.skip_blanks();
            self.take(b':')?;
            members.push((Cow::Borrowed(name), self.value(depth + 1)?));
            self.skip_blanks();
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(Document::Map(members));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Document<'a>> {
        self.take(b'[')?;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(b']').is_some() {
            return Some(Document::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.take(b',').is_none() {
                self.take(b']')?;
                return Some(Document::List(items));
            }
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let end = memchr::memchr2(b'"', b'\\', self.rest)?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        let rest = rest.strip_prefix(b"\"")?;
        // No early exit, so that it is done many bytes at a time.
        let printable = text.iter().fold(true, |all, byte| all & (*byte >= b' '));
        self.rest = rest;
        printable.then(|| std::str::from_utf8(text).ok()).flatten()
    }

    fn integer(&mut self) -> Option<Document<'a>> {
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        let exact = digits <= MAX_DIGITS && (digits == 1 || !number.starts_with(b"0"));
        if !exact || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.rest = rest;
        let value = number
            .iter()
            .fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        Some(Document::Integer(value))
    }

    fn word(&mut self, word: &[u8], value: Document<'a>) -> Option<Document<'a>> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(value)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == byte).then(|| self.rest = rest)
    }

    fn skip_blanks(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whatever is read here, the general reader reads the same.
    fn agrees(body: &[u8]) -> Result<bool, TestCaseError> {
        let Some(fast) = read(body) else {
            return Ok(false);
        };
        let general: Document<'_> = serde_json::from_slice(body)
            .map_err(|e| TestCaseError::fail(format!("{}: {e}", body.escape_ascii())))?;
        prop_assert_eq!(fast, general, "{}", body.escape_ascii());
        Ok(true)
    }

    #[test]
    fn what_programs_write_is_read_here() {
        for body in [
            r#"{}"#,
            r#" { "a" : [ ] } "#,
            r#"{"StreamName":"s","Records":[{"Data":"aGk=","PartitionKey":"k"},{}],"DryRun":false}"#,
            r#"{"Limit": 10000, "x": null, "y": [true, 0, 123456789012345678], "z": "schlüssel"}"#,
            "{\n\t\"a\": \"b\"\r\n}",
            r#""text""#,
        ] {
            assert!(agrees(body.as_bytes()).unwrap(), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_or_rare_is_left_to_the_general_reader() {
        let deep = format!("{}{}", "[".repeat(20), "]".repeat(20));
        for body in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[1 2]",
            "{\"a\" 1}",
            "{a:1}",
            "\"a",
            "\"a\\n\"",
            "\"a\nb\"",
            "\"a\u{1f}b\"",
            "01",
            "-1",
            "1.5",
            "1e3",
            "1234567890123456789",
            "truth",
            "tru",
            "{} {}",
            "\u{feff}{}",
            &deep,
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
        assert_eq!(read(b"\"\xff\""), None);
        assert_eq!(read(b"\"\xc3\""), None);
    }

    /// Documents of any shape, of which some are written as this reader takes them.
    fn document() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<u64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            (0..20_000_i64).prop_map(serde_json::Value::from),
            "[A-Za-z0-9+/=]{0,30}".prop_map(serde_json::Value::from),
            ".{0,20}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_of_any_shape_are_read_as_the_general_reader_does(
            document in document(),
            pretty: bool,
            cut: Option<proptest::sample::Index>,
        ) {
            let mut body = match pretty {
                true => serde_json::to_vec_pretty(&document).unwrap(),
                false => serde_json::to_vec(&document).unwrap(),
            };
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            agrees(&body)?;
        }

        #[test]
        fn any_bytes_are_read_as_the_general_reader_does(body: Vec<u8>) {
            agrees(&body)?;
        }

        #[test]
        fn pieces_of_json_are_read_as_the_general_reader_does(
            pieces in proptest::collection::vec(
                proptest::sample::select(&[
                    "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"é\"", "\\", "\\u0041", "\n", " ", "0",
                    "12", "-", ".", "e", "true", "false", "null", "\u{1}", "\u{7f}", "{\"a\":", "\"b\":1",
                ][..]),
                0..12,
            ),
        ) {
            agrees(pieces.concat().as_bytes())?;
        }

        #[test]
        fn a_good_document_with_one_byte_changed_is_read_as_the_general_reader_does(
            at: proptest::sample::Index,
            byte: u8,
        ) {
            let good = br#"{"Records":[{"Data":"aGk=","PartitionKey":"k"},{"n":17,"b":true}],"x":null}"#;
            let mut body = good.to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            agrees(&body)?;
            body.truncate(at);
            agrees(&body)?;
        }
    }
}
