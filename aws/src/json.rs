//! JSON as Kinesis speaks it (`application/x-amz-json-1.1`): blobs as base64 text, timestamps as
//! seconds since the epoch with a fraction.

use crate::client::Undecodable;
use crate::encoding::{self, Read};
use crate::kinesis::Segment;
use base64_simd::STANDARD;
use bytes::Bytes;
use runtime::time::{epoch_millis, from_epoch_millis};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Number};
use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

/// A map or an array that is not yet closed.
#[derive(Debug)]
struct Open {
    map: bool,
    /// Keys and values together.
    items: usize,
    written: usize,
}

/// Appends JSON to a request's body. Maps and arrays close themselves after as many entries as were
/// announced, so that the calls are those for CBOR.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    open: Vec<Open>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
            open: Vec::new(),
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        debug_assert!(self.open.is_empty(), "{:?}", self.open);
        self.out
    }

    /// What stands between the value before and this one.
    fn separate(&mut self) {
        if let Some(open) = self.open.last_mut() {
            match open.written {
                0 => {}
                n if open.map && n % 2 == 1 => self.out.push(b':'),
                _ => self.out.push(b','),
            }
            open.written += 1;
        }
    }

    /// Closes what this value was the last of.
    fn close(&mut self) {
        while let Some(done) = self.open.pop_if(|open| open.written == open.items) {
            self.out.push(if done.map { b'}' } else { b']' });
        }
    }

    fn begin(&mut self, map: bool, items: usize) {
        self.separate();
        self.out.push(if map { b'{' } else { b'[' });
        self.open.push(Open {
            map,
            items,
            written: 0,
        });
        self.close();
    }

    pub(crate) fn map(&mut self, entries: usize) {
        self.begin(true, 2 * entries);
    }

    pub(crate) fn array(&mut self, items: usize) {
        self.begin(false, items);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        // Writing to a Vec does not fail.
        serde_json::to_writer(&mut self.out, text).ok();
        self.close();
    }

    pub(crate) fn integer(&mut self, value: u64) {
        self.separate();
        write!(self.out, "{value}").ok();
        self.close();
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.separate();
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
        self.close();
    }

    /// One base64 text of the segments joined: what is left of one beyond whole triples of bytes goes
    /// before the next.
    pub(crate) fn bytes(&mut self, segments: &[Segment<'_>]) {
        self.separate();
        self.out.push(b'"');
        let mut left = [0; 3];
        let mut held = 0;
        for segment in segments {
            let mut rest = segment.as_slice();
            while held > 0
                && let Some((byte, after)) = rest.split_first()
                && let Some(place) = left.get_mut(held)
            {
                *place = *byte;
                rest = after;
                held += 1;
                if held == left.len() {
                    STANDARD.encode_append(left, &mut self.out);
                    held = 0;
                }
            }
            let (triples, tail) = rest.split_at(rest.len() - rest.len() % 3);
            STANDARD.encode_append(triples, &mut self.out);
            for (place, byte) in left.iter_mut().zip(tail) {
                *place = *byte;
                held += 1;
            }
        }
        STANDARD.encode_append(left.get(..held).unwrap_or_default(), &mut self.out);
        self.out.push(b'"');
        self.close();
    }

    pub(crate) fn timestamp(&mut self, at: SystemTime) {
        self.separate();
        let millis = epoch_millis(at);
        write!(self.out, "{}.{:03}", millis / 1_000, millis % 1_000).ok();
        self.close();
    }
}

/// Reads a response's body from front to back. Nothing is built of what is skipped.
pub(crate) struct Reader<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(body: &'b [u8]) -> Self {
        Self { body, at: 0 }
    }

    fn rest(&self) -> &'b [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> Undecodable {
        Undecodable(format!("{what} at byte {}", self.at))
    }

    /// The next byte that is no blank; it is not taken.
    fn peek(&mut self) -> Read<u8> {
        let blanks = self
            .rest()
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.at += blanks;
        let next = self.rest().first().copied();
        next.ok_or_else(|| self.wrong("the answer ends too early"))
    }

    /// Takes the next byte if it is this one.
    fn takes(&mut self, byte: u8) -> Read<bool> {
        let is = self.peek()? == byte;
        self.at += usize::from(is);
        Ok(is)
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.takes(byte)? {
            return Ok(());
        }
        Err(self.wrong(&format!("no {:?}", char::from(byte))))
    }

    /// One whole value, as serde_json reads it.
    fn value<T: Deserialize<'b>>(&mut self) -> Read<T> {
        let mut values = Deserializer::from_slice(self.rest()).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => Err(self.wrong(&format!("{error}, counted from what stands"))),
            None => Err(self.wrong("the answer ends too early")),
        }
    }

    /// A text as a view into the body, unless it has escapes.
    fn text_view(&mut self) -> Read<Cow<'b, str>> {
        if self.peek()? == b'"' {
            let inside = self.rest().get(1..).unwrap_or_default();
            let end = inside
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            if let Some((plain, [b'"', ..])) = end.and_then(|end| inside.split_at_checked(end)) {
                let text = std::str::from_utf8(plain).map_err(|_| self.wrong("no UTF-8"))?;
                self.at += plain.len() + 2;
                return Ok(Cow::Borrowed(text));
            }
        }
        self.value().map(Cow::Owned)
    }
}

impl encoding::Reader for Reader<'_> {
    fn map(&mut self, mut member: impl FnMut(&mut Self, &str) -> Read<()>) -> Read<()> {
        self.expect(b'{')?;
        if self.takes(b'}')? {
            return Ok(());
        }
        loop {
            let key = self.text_view()?;
            self.expect(b':')?;
            member(self, &key)?;
            if !self.takes(b',')? {
                return self.expect(b'}');
            }
        }
    }

    fn array<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut items = Vec::new();
        if self.null()? {
            return Ok(items);
        }
        self.expect(b'[')?;
        if self.takes(b']')? {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.takes(b',')? {
                self.expect(b']')?;
                return Ok(items);
            }
        }
    }

    fn skip(&mut self) -> Read<()> {
        self.value::<IgnoredAny>().map(|_| ())
    }

    fn null(&mut self) -> Read<bool> {
        let null = self.peek()? == b'n';
        if null {
            self.value::<()>()?;
        }
        Ok(null)
    }

    fn text(&mut self) -> Read<String> {
        self.text_view().map(Cow::into_owned)
    }

    fn shared_text(&mut self, known: Option<&Arc<str>>) -> Read<Arc<str>> {
        Ok(encoding::shared(&self.text_view()?, known))
    }

    fn bytes(&mut self) -> Read<Bytes> {
        let text = self.text_view()?;
        let bytes = STANDARD.decode_to_vec(text.as_bytes());
        bytes
            .map(Bytes::from)
            .map_err(|_| self.wrong("no base64 before what stands"))
    }

    fn optional_integer(&mut self) -> Read<Option<u64>> {
        if self.null()? {
            return Ok(None);
        }
        let number: Number = self.value()?;
        if number.is_f64() {
            return Err(self.wrong("no whole number before what stands"));
        }
        Ok(number.as_u64())
    }

    fn boolean(&mut self) -> Read<bool> {
        self.value()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate"
    )]
    fn optional_timestamp(&mut self) -> Read<Option<SystemTime>> {
        if self.null()? {
            return Ok(None);
        }
        let seconds: f64 = self.value()?;
        Ok(Some(from_epoch_millis((seconds * 1_000.0).round() as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Reader as _;

    fn written(write: impl FnOnce(&mut Writer)) -> String {
        let mut w = Writer::default();
        write(&mut w);
        String::from_utf8(w.into_bytes()).unwrap()
    }

    #[test]
    fn what_is_announced_closes_itself() {
        let text = written(|w| {
            w.map(4);
            w.text("Empty");
            w.map(0);
            w.text("List");
            w.array(3);
            w.integer(u64::MAX);
            w.array(0);
            w.map(1);
            w.text("At");
            w.timestamp(from_epoch_millis(1_700_000_000_007));
            w.text("Yes");
            w.boolean(true);
            w.text("T\"ext");
            w.text("a\\b\n\u{1}\u{e9}");
        });
        assert_eq!(
            text,
            "{\"Empty\":{},\"List\":[18446744073709551615,[],{\"At\":1700000000.007}],\"Yes\":true,\
             \"T\\\"ext\":\"a\\\\b\\n\\u0001\u{e9}\"}"
        );
    }

    /// The test vectors of RFC 4648, section 10.
    const VECTORS: [(&str, &str); 7] = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];

    #[test]
    fn base64_does_not_show_where_segments_end() {
        for (plain, base64) in VECTORS {
            let plain = plain.as_bytes();
            for first in 0..=plain.len() {
                for second in first..=plain.len() {
                    let segments = [&plain[..first], &plain[first..second], &plain[second..]];
                    let segments = segments.map(Segment::Borrowed);
                    let text = written(|w| w.bytes(&segments));
                    assert_eq!(text, format!("\"{base64}\""), "{first} {second}");
                }
            }
            let bytes: Vec<Segment<'_>> = plain.chunks(1).map(Segment::Borrowed).collect();
            assert_eq!(written(|w| w.bytes(&bytes)), format!("\"{base64}\""));
            let body = format!(" \"{base64}\"");
            assert_eq!(Reader::new(body.as_bytes()).bytes().unwrap(), plain);
        }
    }

    #[test]
    fn every_form_of_value_is_read() {
        let body = br#" { "a" : [ "x" , "\u0079\/z" ] , "b":null,"c":"YQ\u003d=","d":-1,
            "e":1700000000.123,"f":1.7E9,"g":{"deep":[[{"er":"]}"}],1e3,false]},"h":true,"i":[],"j":null}"#;
        let mut seen = 0;
        Reader::new(body)
            .map(|r, key| {
                seen += 1;
                let millis = |at: Option<SystemTime>| epoch_millis(at.unwrap());
                match key {
                    "a" => assert_eq!(r.array(Reader::text)?, ["x", "y/z"]),
                    "b" => assert_eq!(r.optional_text()?, None),
                    "c" => assert_eq!(r.bytes()?, "a"),
                    "d" => assert_eq!(r.optional_integer()?, None),
                    "e" => assert_eq!(millis(r.optional_timestamp()?), 1_700_000_000_123),
                    "f" => assert_eq!(millis(r.optional_timestamp()?), 1_700_000_000_000),
                    "g" => r.skip()?,
                    "h" => assert!(r.boolean()?),
                    "i" | "j" => assert!(r.array(Reader::text)?.is_empty()),
                    other => panic!("{other}"),
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 10);
    }

    #[test]
    fn times_keep_their_milliseconds() {
        for millis in [0, 1, 999, 1_000, 1_699_999_999_999, 4_102_444_799_001] {
            let text = written(|w| w.timestamp(from_epoch_millis(millis)));
            let at = Reader::new(text.as_bytes()).optional_timestamp().unwrap();
            assert_eq!(at, Some(from_epoch_millis(millis)), "{text}");
        }
        let before = Reader::new(b"-5").optional_timestamp().unwrap();
        assert_eq!(before, Some(from_epoch_millis(0)));
    }

    #[test]
    fn what_is_wrong_is_refused_and_its_place_told() {
        type Reading = fn(&mut Reader<'_>) -> Read<()>;
        let skip: Reading = |r| r.map(|r, _| r.skip());
        let cases: [(&str, Reading, &str); 12] = [
            ("", skip, "ends too early at byte 0"),
            ("{", skip, "ends too early at byte 1"),
            ("[]", skip, "no '{' at byte 0"),
            ("{\"a\" 1}", skip, "no ':' at byte 5"),
            ("{\"a\":1 \"b\":2}", skip, "no '}' at byte 7"),
            ("{\"a\":1,}", skip, "at byte 7"),
            ("{\"a\":tru}", skip, "at byte 5"),
            ("{\"a\n\":1}", skip, "at byte 1"),
            ("\"YQ\"", |r| r.bytes().map(|_| ()), "no base64"),
            ("1.5", |r| r.optional_integer().map(|_| ()), "whole number"),
            ("\"1\"", |r| r.boolean().map(|_| ()), "at byte 0"),
            ("\"\u{e9}", |r| r.text().map(|_| ()), "at byte 0"),
        ];
        for (body, read, why) in cases {
            let Undecodable(reason) = read(&mut Reader::new(body.as_bytes())).unwrap_err();
            assert!(reason.contains(why), "{body}: {reason}");
        }
        assert!(Reader::new(b"\"\xff\"").text().is_err());
    }

    proptest::proptest! {
        #[test]
        fn texts_and_blobs_survive(text: String, blob: Vec<u8>, cut in 0..64_usize) {
            let (head, tail) = blob.split_at(cut.min(blob.len()));
            let body = written(|w| {
                w.array(2);
                w.text(&text);
                w.bytes(&[head.into(), tail.into()]);
            });
            let parsed: (String, String) = serde_json::from_str(&body).unwrap();
            assert_eq!(parsed.0, text);
            let mut seen = Vec::new();
            Reader::new(body.as_bytes())
                .array(|r| {
                    seen.push(match seen.len() {
                        0 => r.text()?.into_bytes(),
                        _ => r.bytes()?.to_vec(),
                    });
                    Ok(())
                })
                .unwrap();
            assert_eq!(seen, [text.into_bytes(), blob]);
        }
    }
}
