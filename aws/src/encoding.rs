//! The encodings of Kinesis, behind one writer and one reader: each operation is described once.

use crate::client::Undecodable;
use crate::kinesis::Segment;
use crate::transport::RequestBody;
use crate::{cbor, json};
use bytes::Bytes;
use std::sync::Arc;
use std::time::SystemTime;

/// How requests to Kinesis and its answers are written. The service speaks both; the values are the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Encoding {
    /// `application/x-amz-cbor-1.1`, as the AWS SDK for Java writes it: payloads go as they are, and
    /// what is read stays a view into the answer. The default.
    #[default]
    Cbor,
    /// `application/x-amz-json-1.1`, as all other SDKs write it: a third more bytes, for payloads are
    /// base64 text, and a copy of each payload that is read. For endpoints and proxies that know no
    /// CBOR, and for people who read along.
    Json,
}

impl Encoding {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/x-amz-cbor-1.1",
            Self::Json => "application/x-amz-json-1.1",
        }
    }

    /// Reads an answer.
    pub(crate) fn read<T: Answer>(self, body: &Bytes) -> Read<T> {
        match self {
            Self::Cbor => T::read(&mut cbor::Reader::new(body)),
            Self::Json => T::read(&mut json::Reader::new(body)),
        }
    }
}

/// The text, without another copy if it is `known`.
pub(crate) fn shared(text: &str, known: Option<&Arc<str>>) -> Arc<str> {
    match known {
        Some(known) if **known == *text => Arc::clone(known),
        _ => text.into(),
    }
}

pub(crate) type Read<T> = Result<T, Undecodable>;

/// What can be read in every encoding.
pub(crate) trait Answer: Sized {
    fn read<R: Reader>(r: &mut R) -> Read<Self>;
}

/// Walks through an answer, value by value.
pub(crate) trait Reader: Sized {
    /// Calls `member` for each key of a map; it must read the value, or [`Reader::skip`] it.
    fn map(&mut self, member: impl FnMut(&mut Self, &str) -> Read<()>) -> Read<()>;
    /// Reads each item of an array; `null` counts as empty.
    fn array<T>(&mut self, item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>>;
    fn skip(&mut self) -> Read<()>;
    fn text(&mut self) -> Read<String>;
    /// A text that is shared; `known`, if it is the same.
    fn shared_text(&mut self, known: Option<&Arc<str>>) -> Read<Arc<str>>;
    /// Reads a `null`, if one is next.
    fn null(&mut self) -> Read<bool>;
    fn optional_text(&mut self) -> Read<Option<String>> {
        if self.null()? {
            Ok(None)
        } else {
            self.text().map(Some)
        }
    }
    fn bytes(&mut self) -> Read<Bytes>;
    /// A whole number; `None` also for one below zero, as lag and counts are where the service does
    /// not know.
    fn optional_integer(&mut self) -> Read<Option<u64>>;
    fn boolean(&mut self) -> Read<bool>;
    fn optional_timestamp(&mut self) -> Read<Option<SystemTime>>;
}

/// Writes a request's body. How many entries a map and items an array will have is said before: the
/// last of them closes it.
#[derive(Debug)]
pub(crate) enum Writer {
    Cbor(cbor::Writer),
    Json(json::Writer),
}

impl Writer {
    pub(crate) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Cbor => Self::Cbor(cbor::Writer::default()),
            Encoding::Json => Self::Json(json::Writer::default()),
        }
    }

    /// A body with these blobs, and so many bytes beside them.
    pub(crate) fn with_blobs<'a>(
        encoding: Encoding,
        blobs: impl Iterator<Item = &'a Segment<'a>>,
        beside: usize,
    ) -> Self {
        match encoding {
            Encoding::Cbor => {
                let (mut copied, mut shared) = (0, 0);
                for blob in blobs {
                    if cbor::is_shared(blob) {
                        shared += 1;
                    } else {
                        copied += blob.as_slice().len();
                    }
                }
                Self::Cbor(cbor::Writer::with_capacity(copied + beside, shared))
            }
            Encoding::Json => {
                let plain: usize = blobs.map(|blob| blob.as_slice().len()).sum();
                Self::Json(json::Writer::with_capacity(plain + plain / 3 + beside))
            }
        }
    }

    pub(crate) fn into_body(self) -> RequestBody {
        match self {
            Self::Cbor(w) => w.into_body(),
            Self::Json(w) => Bytes::from(w.into_bytes()).into(),
        }
    }

    pub(crate) fn map(&mut self, entries: usize) {
        match self {
            Self::Cbor(w) => w.map(entries),
            Self::Json(w) => w.map(entries),
        }
    }

    pub(crate) fn array(&mut self, items: usize) {
        match self {
            Self::Cbor(w) => w.array(items),
            Self::Json(w) => w.array(items),
        }
    }

    /// A text, or the key of a map's next value.
    pub(crate) fn text(&mut self, text: &str) {
        match self {
            Self::Cbor(w) => w.text(text),
            Self::Json(w) => w.text(text),
        }
    }

    /// A key with a text.
    pub(crate) fn member(&mut self, key: &str, text: &str) {
        self.text(key);
        self.text(text);
    }

    pub(crate) fn integer(&mut self, value: u64) {
        match self {
            Self::Cbor(w) => w.integer(value),
            Self::Json(w) => w.integer(value),
        }
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        match self {
            Self::Cbor(w) => w.boolean(value),
            Self::Json(w) => w.boolean(value),
        }
    }

    /// One blob, joined from its segments.
    pub(crate) fn bytes(&mut self, segments: &[Segment<'_>]) {
        match self {
            Self::Cbor(w) => w.bytes(segments),
            Self::Json(w) => w.bytes(segments),
        }
    }

    pub(crate) fn timestamp(&mut self, at: SystemTime) {
        match self {
            Self::Cbor(w) => w.timestamp(at),
            Self::Json(w) => w.timestamp(at),
        }
    }
}
