//! JSON 1.1: blobs are base64 text, timestamps are seconds since the epoch.

use super::{Document, Emit, plain_json};
use crate::refusal::Refusal;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::ops::Range;

/// Reads a JSON document.
pub(crate) fn decode(body: &[u8]) -> Result<Document<'_>, Refusal> {
    if let Some(document) = plain_json::read(body) {
        return Ok(document);
    }
    serde_json::from_slice(body).map_err(|e| Refusal::serialization(e.to_string()))
}

impl<'de> Deserialize<'de> for Document<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Document::Integer(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond i64 no member is exact")]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Document::Float(value as f64), Document::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Document::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Document::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Document::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Document::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Document::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::with_capacity(4);
        while let Some((Key(key), value)) = entries.next_entry()? {
            map.push((key, value));
        }
        Ok(Document::Map(map))
    }
}

/// A member name, borrowed where it holds no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Writes JSON into one buffer, base64 in place.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    out: Vec<u8>,
    /// Per open structure or list: its closing byte, and whether it holds something already.
    open: Vec<(u8, bool)>,
    after_key: bool,
    /// The last time that was written, and where: records that came together have the same.
    time: Option<(u64, Range<usize>)>,
}

impl JsonWriter {
    /// Writes behind what is in a buffer.
    pub(crate) fn into(buffer: Vec<u8>) -> Self {
        Self {
            out: buffer,
            ..Self::default()
        }
    }

    fn before_value(&mut self) {
        if self.after_key {
            self.after_key = false;
        } else {
            self.separate();
        }
    }

    fn separate(&mut self) {
        if let Some((_, filled)) = self.open.last_mut() {
            if *filled {
                self.out.push(b',');
            }
            *filled = true;
        }
    }

    fn string(&mut self, value: &str) {
        // No early exit, so that it is done many bytes at a time.
        let plain = value.bytes().fold(true, |all, byte| {
            all & (byte >= b' ') & (byte != b'"') & (byte != b'\\')
        });
        if plain {
            self.out.push(b'"');
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
        } else {
            // Writing a string into a Vec cannot fail.
            serde_json::to_writer(&mut self.out, value).ok();
        }
    }
}

impl Emit for JsonWriter {
    fn begin_map(&mut self) {
        self.before_value();
        self.out.push(b'{');
        self.open.push((b'}', false));
    }

    fn begin_list(&mut self) {
        self.before_value();
        self.out.push(b'[');
        self.open.push((b']', false));
    }

    fn end(&mut self) {
        if let Some((close, _)) = self.open.pop() {
            self.out.push(close);
        }
    }

    fn key(&mut self, name: &'static str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.after_key = true;
    }

    fn text(&mut self, value: &str) {
        self.before_value();
        self.string(value);
    }

    fn integer(&mut self, value: u64) {
        self.before_value();
        write!(self.out, "{value}").ok();
    }

    fn boolean(&mut self, value: bool) {
        self.before_value();
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn blob(&mut self, value: &[u8]) {
        self.before_value();
        self.out.push(b'"');
        base64_simd::STANDARD.encode_append(value, &mut self.out);
        self.out.push(b'"');
    }

    fn timestamp(&mut self, millis: u64) {
        self.before_value();
        match &self.time {
            Some((last, place)) if *last == millis => self.out.extend_from_within(place.clone()),
            _ => {
                let start = self.out.len();
                write!(self.out, "{}.{:03}", millis / 1_000, millis % 1_000).ok();
                self.time = Some((millis, start..self.out.len()));
            }
        }
    }

    fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes.saturating_mul(4) / 3);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_document_is_the_json_it_should_be() {
        let mut out: Box<dyn Emit + Send> = Box::new(JsonWriter::default());
        out.begin_map();
        out.text_member("Name", "a\"b");
        out.begin_list_member("List");
        out.integer(1);
        out.boolean(true);
        out.begin_map();
        out.end();
        out.end();
        out.key("Data");
        out.blob(b"hello");
        for millis in [1_700_000_000_007, 1_700_000_000_007, 1_700_000_001_070] {
            out.timestamp_member("At", millis);
        }
        out.end();
        assert_eq!(
            String::from_utf8(out.finish()).unwrap(),
            r#"{"Name":"a\"b","List":[1,true,{}],"Data":"aGVsbG8=","At":1700000000.007,"At":1700000000.007,"At":1700000001.070}"#
        );
    }

    #[test]
    fn texts_are_escaped_as_the_general_writer_does() {
        for text in [
            "",
            "plain",
            "schlüssel",
            "a\"b",
            "a\\b",
            "\n",
            "\u{0}",
            "\u{7f}",
            "\u{2028}",
        ] {
            let mut out = JsonWriter::default();
            out.text(text);
            assert_eq!(out.out, serde_json::to_vec(text).unwrap(), "{text:?}");
        }
    }

    #[test]
    fn names_and_texts_borrow_unless_escaped() {
        let document = decode(br#"{"a":"plain","b":"esc\u0041ped","n":1.5,"x":null}"#).unwrap();
        assert!(matches!(
            document.get("a"),
            Some(Document::Text(Cow::Borrowed("plain")))
        ));
        assert_eq!(
            document.get("b"),
            Some(&Document::Text(Cow::Borrowed("escAped")))
        );
        assert_eq!(document.get("n"), Some(&Document::Float(1.5)));
        assert_eq!(document.get("x"), None);
    }

    #[test]
    fn a_request_is_the_same_with_and_without_escapes() {
        let plain =
            br#"{"StreamName":"s","Records":[{"Data":"aG/k","PartitionKey":"k"}],"DryRun":true}"#;
        let escaped =
            br#"{"StreamN\u0061me":"s","Records":[{"D\u0061ta":"aG\/k","PartitionKey":"\u006b"}],"DryRun":true}"#;
        assert!(plain_json::read(plain).is_some() && plain_json::read(escaped).is_none());
        assert_eq!(decode(plain).unwrap(), decode(escaped).unwrap());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in [&b""[..], b"{", b"nonsense", b"{\"a\":}"] {
            assert_eq!(decode(body).unwrap_err().code, "SerializationException");
        }
    }
}
