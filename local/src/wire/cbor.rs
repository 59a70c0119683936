//! CBOR 1.1: blobs are byte strings, timestamps are epoch milliseconds under tag 1.
//!
//! Structures and lists are written with indefinite length, as a streaming encoder does.

use super::{Document, Emit};
use crate::refusal::Refusal;
use minicbor::data::{IanaTag, Type};
use minicbor::{Decoder, Encoder};
use std::borrow::Cow;

/// No request nests deeper than its operation's shape; this bounds the stack.
const MAX_DEPTH: usize = 32;

/// Reads a CBOR document.
pub(crate) fn decode(body: &[u8]) -> Result<Document<'_>, Refusal> {
    let mut decoder = Decoder::new(body);
    let document = value(&mut decoder, 0).map_err(|e| Refusal::serialization(e.to_string()))?;
    if decoder.position() != body.len() {
        return Err(Refusal::serialization(
            "Bytes after the end of the document",
        ));
    }
    Ok(document)
}

fn value<'a>(
    decoder: &mut Decoder<'a>,
    depth: usize,
) -> Result<Document<'a>, minicbor::decode::Error> {
    if depth > MAX_DEPTH {
        return Err(minicbor::decode::Error::message("nested too deeply"));
    }
    Ok(match decoder.datatype()? {
        Type::Null => {
            decoder.null()?;
            Document::Null
        }
        Type::Undefined => {
            decoder.undefined()?;
            Document::Null
        }
        Type::Bool => Document::Bool(decoder.bool()?),
        Type::U8 | Type::U16 | Type::U32 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
            Document::Integer(decoder.i64()?)
        }
        #[expect(clippy::cast_precision_loss, reason = "beyond i64 no member is exact")]
        Type::U64 => {
            let n = decoder.u64()?;
            i64::try_from(n).map_or(Document::Float(n as f64), Document::Integer)
        }
        Type::F16 => Document::Float(f64::from(decoder.f16()?)),
        Type::F32 => Document::Float(f64::from(decoder.f32()?)),
        Type::F64 => Document::Float(decoder.f64()?),
        Type::String => Document::Text(Cow::Borrowed(decoder.str()?)),
        Type::StringIndef => {
            let mut text = String::new();
            for part in decoder.str_iter()? {
                text.push_str(part?);
            }
            Document::Text(Cow::Owned(text))
        }
        Type::Bytes => Document::Blob(Cow::Borrowed(decoder.bytes()?)),
        Type::BytesIndef => {
            let mut bytes = Vec::new();
            for part in decoder.bytes_iter()? {
                bytes.extend_from_slice(part?);
            }
            Document::Blob(Cow::Owned(bytes))
        }
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array()?;
            let mut list = Vec::with_capacity(reserve(length));
            while more(decoder, length, list.len())? {
                list.push(value(decoder, depth + 1)?);
            }
            Document::List(list)
        }
        Type::Map | Type::MapIndef => {
            let length = decoder.map()?;
            let mut map = Vec::with_capacity(reserve(length));
            while more(decoder, length, map.len())? {
                let key = match value(decoder, depth + 1)? {
                    Document::Text(key) => key,
                    _ => return Err(minicbor::decode::Error::message("a key is not text")),
                };
                map.push((key, value(decoder, depth + 1)?));
            }
            Document::Map(map)
        }
        Type::Tag => tagged(decoder, depth)?,
        other => {
            return Err(minicbor::decode::Error::message(format!(
                "{other} where a value belongs"
            )));
        }
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since the epoch are exact in f64 until the year 287396"
)]
fn tagged<'a>(
    decoder: &mut Decoder<'a>,
    depth: usize,
) -> Result<Document<'a>, minicbor::decode::Error> {
    let tag = decoder.tag()?;
    let inner = value(decoder, depth + 1)?;
    if tag != IanaTag::Timestamp.tag() {
        return Ok(inner);
    }
    match inner {
        Document::Integer(millis) => Ok(Document::Timestamp(millis as f64)),
        Document::Float(millis) => Ok(Document::Timestamp(millis)),
        _ => Err(minicbor::decode::Error::message(
            "tag 1 on what is no number",
        )),
    }
}

/// Room for a declared length, but not for a lie.
fn reserve(length: Option<u64>) -> usize {
    usize::try_from(length.unwrap_or(4)).map_or(512, |n| n.min(512))
}

/// Whether another item follows; takes the break of an indefinite length.
fn more(
    decoder: &mut Decoder<'_>,
    length: Option<u64>,
    read: usize,
) -> Result<bool, minicbor::decode::Error> {
    match length {
        Some(length) => Ok(u64::try_from(read).is_ok_and(|read| read < length)),
        None if decoder.datatype()? == Type::Break => {
            decoder.set_position(decoder.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

/// Writes CBOR into one buffer. Writing into a `Vec` cannot fail, so results are dropped.
#[derive(Debug)]
pub(crate) struct CborWriter(Encoder<Vec<u8>>);

impl CborWriter {
    /// Writes behind what is in a buffer.
    pub(crate) fn into(buffer: Vec<u8>) -> Self {
        Self(Encoder::new(buffer))
    }
}

impl Emit for CborWriter {
    fn begin_map(&mut self) {
        self.0.begin_map().ok();
    }

    fn begin_list(&mut self) {
        self.0.begin_array().ok();
    }

    fn end(&mut self) {
        self.0.end().ok();
    }

    fn key(&mut self, name: &'static str) {
        self.0.str(name).ok();
    }

    fn text(&mut self, value: &str) {
        self.0.str(value).ok();
    }

    fn integer(&mut self, value: u64) {
        self.0.u64(value).ok();
    }

    fn boolean(&mut self, value: bool) {
        self.0.bool(value).ok();
    }

    fn blob(&mut self, value: &[u8]) {
        self.0.bytes(value).ok();
    }

    fn timestamp(&mut self, millis: u64) {
        self.0
            .tag(IanaTag::Timestamp)
            .and_then(|e| e.u64(millis))
            .ok();
    }

    fn reserve(&mut self, bytes: usize) {
        self.0.writer_mut().reserve(bytes);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        self.0.into_writer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes written by hand from RFC 8949, not by our encoder.
    #[test]
    fn documents_of_every_shape_are_read() {
        let cases: &[(&[u8], Document<'_>)] = &[
            (&[0xf6], Document::Null),
            (&[0xf7], Document::Null),
            (&[0xf5], Document::Bool(true)),
            (&[0x18, 0x64], Document::Integer(100)),
            (&[0x38, 0x63], Document::Integer(-100)),
            (
                &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a],
                Document::Float(1.1),
            ),
            (&[0x62, b'h', b'i'], Document::Text("hi".into())),
            (
                &[0x7f, 0x61, b'h', 0x61, b'i', 0xff],
                Document::Text("hi".into()),
            ),
            (&[0x42, 1, 2], Document::Blob(vec![1, 2].into())),
            (
                &[0x5f, 0x41, 1, 0x41, 2, 0xff],
                Document::Blob(vec![1, 2].into()),
            ),
            (&[0xc1, 0x19, 0x03, 0xe8], Document::Timestamp(1_000.0)),
            (
                &[0xc1, 0xfa, 0x44, 0x7a, 0x00, 0x00],
                Document::Timestamp(1_000.0),
            ),
            // Encoders that take the shortest form take halves too.
            (&[0xc1, 0xf9, 0x63, 0xd0], Document::Timestamp(1_000.0)),
            (
                &[0x82, 1, 2],
                Document::List(vec![Document::Integer(1), Document::Integer(2)]),
            ),
            (
                &[0x9f, 1, 2, 0xff],
                Document::List(vec![Document::Integer(1), Document::Integer(2)]),
            ),
            (
                &[0xa1, 0x61, b'a', 1],
                Document::Map(vec![("a".into(), Document::Integer(1))]),
            ),
            (
                &[0xbf, 0x61, b'a', 1, 0xff],
                Document::Map(vec![("a".into(), Document::Integer(1))]),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(&decode(bytes).unwrap(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn broken_documents_are_refused() {
        let deep = [vec![0x81; 100], vec![0xf6]].concat();
        let cases: &[&[u8]] = &[
            &[],
            &[0xbf],
            &[0xa1, 0x01, 0x01],
            &[0x42, 1],
            &[0xff],
            &[0xf6, 0xf6],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xc1, 0x61, b'a'],
            &deep,
        ];
        for bytes in cases {
            assert_eq!(
                decode(bytes).unwrap_err().code,
                "SerializationException",
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn a_written_document_has_byte_strings_and_tagged_milliseconds() {
        let mut out: Box<dyn Emit + Send> = Box::new(CborWriter::into(Vec::new()));
        out.begin_map();
        out.key("D");
        out.blob(&[1, 2]);
        out.timestamp_member("T", 1_000);
        out.begin_list_member("L");
        out.boolean(false);
        out.end();
        out.end();
        assert_eq!(
            out.finish(),
            [
                0xbf, 0x61, b'D', 0x42, 1, 2, 0x61, b'T', 0xc1, 0x19, 0x03, 0xe8, 0x61, b'L', 0x9f,
                0xf4, 0xff, 0xff
            ]
        );
    }
}
