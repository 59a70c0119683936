//! The two encodings of the AWS JSON protocol, JSON 1.1 and CBOR 1.1, behind one document model, so
//! that an operation reads and writes once and means the same in both.

pub(crate) mod blob;
pub(crate) mod buffers;
pub(crate) mod cbor;
pub(crate) mod check;
pub(crate) mod document;
pub(crate) mod emit;
pub(crate) mod event_stream;
pub(crate) mod fields;
pub(crate) mod json;
mod plain_json;

pub(crate) use blob::Blob;
pub(crate) use check::Check;
pub(crate) use document::Document;
pub(crate) use emit::Emit;
pub(crate) use fields::Fields;

use crate::refusal::Refusal;

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/x-amz-json-1.1` (and plain `application/json`).
    Json,
    /// `application/x-amz-cbor-1.1`.
    Cbor,
}

impl Encoding {
    /// The encoding that a `Content-Type` header names, if it is one of ours.
    pub(crate) fn of_content_type(value: &str) -> Option<Self> {
        let name = value.split(';').next().unwrap_or_default().trim();
        match name {
            "application/x-amz-json-1.1" | "application/x-amz-json-1.0" | "application/json" => {
                Some(Self::Json)
            }
            "application/x-amz-cbor-1.1" | "application/cbor" => Some(Self::Cbor),
            _ => None,
        }
    }

    /// The `Content-Type` of an answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a request body: one structure.
    pub(crate) fn decode(self, body: &[u8]) -> Result<Document<'_>, Refusal> {
        let document = match self {
            Self::Json => json::decode(body)?,
            Self::Cbor => cbor::decode(body)?,
        };
        match document {
            Document::Map(_) => Ok(document),
            _ => Err(Refusal::serialization("Expected a structure")),
        }
    }

    /// A writer of an answer.
    pub(crate) fn writer(self) -> Box<dyn Emit + Send> {
        self.writer_into(Vec::new())
    }

    /// A writer of an answer, behind what is in a buffer.
    pub(crate) fn writer_into(self, buffer: Vec<u8>) -> Box<dyn Emit + Send> {
        match self {
            Self::Json => Box::new(json::JsonWriter::into(buffer)),
            Self::Cbor => Box::new(cbor::CborWriter::into(buffer)),
        }
    }

    /// The body of an error answer.
    pub(crate) fn refusal(self, refusal: &Refusal) -> Vec<u8> {
        let mut out = self.writer();
        out.begin_map();
        out.key("__type");
        out.text(&refusal.code);
        if !refusal.message.is_empty() {
            out.key("message");
            out.text(&refusal.message);
        }
        out.end();
        out.finish()
    }
}
