//! CBOR as Kinesis speaks it (`application/x-amz-cbor-1.1`): maps with text keys, blobs as byte
//! strings, timestamps as epoch milliseconds under tag 1.

use crate::client::Undecodable;
use crate::encoding::{self, Read, Reader as _};
use crate::kinesis::Segment;
use crate::transport::RequestBody;
use bytes::Bytes;
use minicbor::data::{Tag, Type};
use minicbor::decode::{Decoder, Error};
use runtime::time::{epoch_millis, from_epoch_millis};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

/// From this size on, in bytes, what is shared is not copied: a piece of its own costs about as much as
/// a copy of so many.
const WORTH_SHARING: usize = 1_024;

/// Whether a blob's segment is sent as it lies.
pub(crate) fn is_shared(segment: &Segment<'_>) -> bool {
    matches!(segment, Segment::Shared(bytes) if bytes.len() >= WORTH_SHARING)
}

/// Appends CBOR to a request's body. Definite lengths throughout: the caller knows them.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    /// What stands between the bytes of `out`, each before the byte of this place.
    shared: Vec<(usize, Bytes)>,
}

impl Writer {
    /// For so many bytes and so many pieces that are not copied.
    pub(crate) fn with_capacity(bytes: usize, shared: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
            shared: Vec::with_capacity(shared),
        }
    }

    pub(crate) fn into_body(self) -> RequestBody {
        let Self { out, shared } = self;
        let out = Bytes::from(out);
        let mut at = 0;
        let mut pieces = Vec::with_capacity(2 * shared.len() + 1);
        for (place, piece) in shared {
            pieces.extend([out.slice(at..place), piece]);
            at = place;
        }
        pieces.push(out.slice(at..));
        RequestBody::of_pieces(pieces)
    }

    /// Major type and length, in the shortest form.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each arm's range fits its width"
    )]
    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        match value {
            0..=23 => self.out.push(major | value as u8),
            24..=0xff => self.out.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    pub(crate) fn map(&mut self, entries: usize) {
        self.head(5, entries as u64);
    }

    pub(crate) fn array(&mut self, items: usize) {
        self.head(4, items as u64);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.head(3, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn integer(&mut self, value: u64) {
        self.head(0, value);
    }

    /// One byte string, joined from its segments.
    pub(crate) fn bytes(&mut self, segments: &[Segment<'_>]) {
        self.head(2, segments.iter().map(|s| s.as_slice().len() as u64).sum());
        for segment in segments {
            match segment {
                Segment::Shared(bytes) if is_shared(segment) => {
                    self.shared.push((self.out.len(), bytes.clone()));
                }
                other => self.out.extend_from_slice(other.as_slice()),
            }
        }
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.out.push(if value { 0xf5 } else { 0xf4 });
    }

    pub(crate) fn timestamp(&mut self, at: SystemTime) {
        self.head(6, 1);
        self.head(0, epoch_millis(at));
    }
}

/// Reads a response's body. Payloads are views into it.
pub(crate) struct Reader<'b> {
    decoder: Decoder<'b>,
    body: &'b Bytes,
}

impl From<Error> for Undecodable {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl<'b> Reader<'b> {
    pub(crate) fn new(body: &'b Bytes) -> Self {
        Self {
            decoder: Decoder::new(body),
            body,
        }
    }

    /// True while a map or an array has more; `left` is its length, or `None` when it ends by a break.
    fn more(&mut self, left: &mut Option<u64>) -> Read<bool> {
        match left {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None if self.decoder.datatype()? == Type::Break => {
                self.decoder.skip()?;
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// A text as a view into the body; one that was sent in pieces is joined.
    fn text_view(&mut self) -> Read<Cow<'b, str>> {
        if self.decoder.datatype()? == Type::StringIndef {
            let parts: Result<Vec<&str>, Error> = self.decoder.str_iter()?.collect();
            return Ok(Cow::Owned(parts?.concat()));
        }
        Ok(Cow::Borrowed(self.decoder.str()?))
    }
}

impl encoding::Reader for Reader<'_> {
    fn map(&mut self, mut member: impl FnMut(&mut Self, &str) -> Read<()>) -> Read<()> {
        let mut left = self.decoder.map()?;
        while self.more(&mut left)? {
            let key = self.text_view()?;
            member(self, &key)?;
        }
        Ok(())
    }

    fn array<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut items = Vec::new();
        if self.null()? {
            return Ok(items);
        }
        let mut left = self.decoder.array()?;
        while self.more(&mut left)? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn skip(&mut self) -> Read<()> {
        Ok(self.decoder.skip()?)
    }

    fn null(&mut self) -> Read<bool> {
        let null = matches!(self.decoder.datatype()?, Type::Null | Type::Undefined);
        if null {
            self.decoder.skip()?;
        }
        Ok(null)
    }

    fn text(&mut self) -> Read<String> {
        self.text_view().map(Cow::into_owned)
    }

    fn shared_text(&mut self, known: Option<&Arc<str>>) -> Read<Arc<str>> {
        Ok(encoding::shared(&self.text_view()?, known))
    }

    /// A byte string as a view into the body; one that was sent in pieces is joined.
    fn bytes(&mut self) -> Read<Bytes> {
        if self.decoder.datatype()? == Type::BytesIndef {
            let parts: Result<Vec<&[u8]>, Error> = self.decoder.bytes_iter()?.collect();
            return Ok(parts?.concat().into());
        }
        let view = self.decoder.bytes()?;
        Ok(self.body.slice_ref(view))
    }

    fn optional_integer(&mut self) -> Read<Option<u64>> {
        if self.null()? {
            return Ok(None);
        }
        let number = i128::from(self.decoder.int()?);
        Ok(u64::try_from(number).ok())
    }

    fn boolean(&mut self) -> Read<bool> {
        Ok(self.decoder.bool()?)
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
        if self.decoder.datatype()? == Type::Tag {
            let tag: Tag = self.decoder.tag()?;
            if tag.as_u64() != 1 {
                return Err(Undecodable(format!(
                    "a timestamp under tag {}",
                    tag.as_u64()
                )));
            }
        }
        let millis = match self.decoder.datatype()? {
            Type::F16 => f64::from(self.decoder.f16()?) as u64,
            Type::F32 => f64::from(self.decoder.f32()?) as u64,
            Type::F64 => self.decoder.f64()? as u64,
            _ => u64::try_from(i128::from(self.decoder.int()?)).unwrap_or(0),
        };
        Ok(Some(from_epoch_millis(millis)))
    }
}

/// Name and text of an error; `None` when the body is not CBOR or names none.
pub(crate) fn error(body: &Bytes) -> Option<(String, String)> {
    let (mut code, mut message) = (None, String::new());
    let read = Reader::new(body).map(|r, key| {
        match key {
            "__type" | "code" => code = r.optional_text()?,
            "message" | "Message" => message = r.optional_text()?.unwrap_or_default(),
            _ => r.skip()?,
        }
        Ok(())
    });
    read.ok()?;
    Some((code?, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        let cases: [(u64, &[u8]); 6] = [
            (23, &[0x17]),
            (24, &[0x18, 24]),
            (255, &[0x18, 255]),
            (256, &[0x19, 1, 0]),
            (65_536, &[0x1a, 0, 1, 0, 0]),
            (1 << 32, &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (value, bytes) in cases {
            let mut w = Writer::default();
            w.integer(value);
            assert_eq!(w.into_body().into_bytes(), bytes, "{value}");
        }
    }

    #[test]
    fn what_is_shared_and_large_is_not_copied() {
        let large = Bytes::from(vec![7; WORTH_SHARING]);
        let small = large.slice(1..);
        let mut w = Writer::default();
        w.bytes(&[
            b"a".into(),
            Segment::Shared(large.clone()),
            Segment::Shared(small.clone()),
            Segment::Shared(large.clone()),
        ]);
        w.boolean(true);
        let body = w.into_body();
        let [head, first, between, second, tail] = body.pieces() else {
            panic!("{body:?}");
        };
        assert_eq!([first.as_ptr(), second.as_ptr()], [large.as_ptr(); 2]);
        assert_eq!((head.len(), between, &**tail), (4, &small, &[0xf5][..]));
        let whole = body.clone().into_bytes();
        let read = Reader::new(&whole).bytes().unwrap();
        assert_eq!(read, [b"a", &*large, &*small, &*large].concat());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut w = Writer::default();
        w.map(3);
        w.text("Name");
        w.text("x");
        w.text("Data");
        w.bytes(&[b"ab".into(), b"".into(), b"c".into()]);
        w.text("At");
        w.timestamp(from_epoch_millis(1_700_000_000_123));
        let body = w.into_body().into_bytes();
        let mut seen = Vec::new();
        Reader::new(&body)
            .map(|r, key| {
                seen.push(match key {
                    "Name" => r.text()?,
                    "Data" => String::from_utf8(r.bytes()?.to_vec()).unwrap(),
                    "At" => epoch_millis(r.optional_timestamp()?.unwrap()).to_string(),
                    other => panic!("{other}"),
                });
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, ["x", "abc", "1700000000123"]);
    }

    #[test]
    fn indefinite_forms_and_nulls_are_read() {
        // {_ "a": [_ "x", (_ "y", "z")], "b": null, "c": (_ h'01', h'02'), "d": -1}
        let body = Bytes::from_static(&[
            0xbf, 0x61, b'a', 0x9f, 0x61, b'x', 0x7f, 0x61, b'y', 0x61, b'z', 0xff, 0xff, 0x61,
            b'b', 0xf6, 0x61, b'c', 0x5f, 0x41, 1, 0x41, 2, 0xff, 0x61, b'd', 0x20, 0xff,
        ]);
        let mut seen = 0;
        Reader::new(&body)
            .map(|r, key| {
                seen += 1;
                match key {
                    "a" => assert_eq!(r.array(Reader::text)?, ["x", "yz"]),
                    "b" => assert_eq!(r.optional_text()?, None),
                    "c" => assert_eq!(r.bytes()?, [1u8, 2].as_slice()),
                    "d" => assert_eq!(r.optional_integer()?, None),
                    other => panic!("{other}"),
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 4);
    }

    #[test]
    fn timestamps_come_as_integers_or_floats() {
        let float = [&[0xc1, 0xfb][..], &1_700_000_000_123f64.to_be_bytes()[..]].concat();
        let body = Bytes::from(float);
        let at = Reader::new(&body).optional_timestamp().unwrap().unwrap();
        assert_eq!(epoch_millis(at), 1_700_000_000_123);
        let half = Bytes::from_static(&[0xc1, 0xf9, 0x63, 0xd0]);
        let at = Reader::new(&half).optional_timestamp().unwrap().unwrap();
        assert_eq!(epoch_millis(at), 1_000);
        let other_tag = Bytes::from_static(&[0xc2, 0x01]);
        assert!(Reader::new(&other_tag).optional_timestamp().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let body = Bytes::from(bytes);
            let _ = error(&body);
        }
    }
}
