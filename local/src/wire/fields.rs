//! Typed access to the members of a request, with the service's words for a wrong type.

use super::document::Members;
use super::{Blob, Document, Encoding};
use crate::refusal::Refusal;

/// A structure being read. Members that an operation does not know are ignored, as AWS does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'d, 'a> {
    structure: &'d Document<'a>,
    encoding: Encoding,
}

impl<'d, 'a> Fields<'d, 'a> {
    pub(crate) fn new(structure: &'d Document<'a>, encoding: Encoding) -> Self {
        Self {
            structure,
            encoding,
        }
    }

    /// A string member.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'d str>, Refusal> {
        match self.structure.get(name) {
            None => Ok(None),
            Some(Document::Text(text)) => Ok(Some(text)),
            Some(other) => Err(mismatch(other, "String")),
        }
    }

    /// A whole-number member; fractions are cut, as AWS does.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.structure.get(name) {
            None => Ok(None),
            Some(Document::Integer(n)) => Ok(Some(*n)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a float cast saturates, and every bound lies far inside i64"
            )]
            Some(Document::Float(n)) => Ok(Some(n.floor() as i64)),
            Some(other) => Err(mismatch(other, "Integer")),
        }
    }

    /// A truth-value member.
    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.structure.get(name) {
            None => Ok(None),
            Some(Document::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(mismatch(other, "Boolean")),
        }
    }

    /// A blob member: base64 text in JSON, a byte string in CBOR.
    pub(crate) fn blob(&self, name: &str) -> Result<Option<Blob<'d>>, Refusal> {
        match (self.structure.get(name), self.encoding) {
            (None, _) => Ok(None),
            (Some(Document::Blob(bytes)), Encoding::Cbor) => Ok(Some(Blob::Plain(bytes))),
            (Some(Document::Text(text)), Encoding::Json) => {
                Blob::base64(text).map(Some).map_err(|e| {
                    Refusal::serialization(format!("'{name}' can not be converted to a Blob: {e}"))
                })
            }
            (Some(other), _) => Err(mismatch(other, "Blob")),
        }
    }

    /// A timestamp member, in whole milliseconds since the Unix epoch; times before it are 0.
    pub(crate) fn timestamp(&self, name: &str) -> Result<Option<u64>, Refusal> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time is exact in f64 until the year 287396"
        )]
        let millis = match (self.structure.get(name), self.encoding) {
            (None, _) => return Ok(None),
            (Some(Document::Timestamp(millis) | Document::Float(millis)), Encoding::Cbor) => {
                *millis
            }
            (Some(Document::Integer(millis)), Encoding::Cbor) => *millis as f64,
            (Some(Document::Integer(seconds)), Encoding::Json) => *seconds as f64 * 1_000.0,
            (Some(Document::Float(seconds)), Encoding::Json) => seconds * 1_000.0,
            (Some(other), _) => return Err(mismatch(other, "milliseconds since epoch")),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float cast saturates: negative times become 0"
        )]
        let whole = millis.round() as u64;
        Ok(Some(whole))
    }

    /// A list member.
    pub(crate) fn list(&self, name: &str) -> Result<Option<&'d [Document<'a>]>, Refusal> {
        match self.structure.get(name) {
            None => Ok(None),
            Some(Document::List(items)) => Ok(Some(items)),
            Some(Document::Map(_)) => Err(Refusal::serialization(
                "Start of structure or map found where not expected.",
            )),
            Some(_) => Err(Refusal::serialization("Expected list or null")),
        }
    }

    /// A member that is a map from text to values.
    pub(crate) fn map(&self, name: &str) -> Result<Option<&'d Members<'a>>, Refusal> {
        match self.structure.get(name) {
            None => Ok(None),
            Some(Document::Map(members)) => Ok(Some(members)),
            Some(other) => Err(mismatch(other, "Map")),
        }
    }

    /// A structure member.
    pub(crate) fn structure(&self, name: &str) -> Result<Option<Fields<'d, 'a>>, Refusal> {
        self.structure
            .get(name)
            .map(|member| self.inner(member))
            .transpose()
    }

    /// A list's item, which has to be a structure.
    pub(crate) fn inner(&self, item: &'d Document<'a>) -> Result<Fields<'d, 'a>, Refusal> {
        match item {
            Document::Map(_) => Ok(Fields::new(item, self.encoding)),
            Document::List(_) => Err(Refusal::serialization(
                "Start of list found where not expected",
            )),
            _ => Err(Refusal::serialization("Expected null")),
        }
    }
}

fn mismatch(found: &Document<'_>, wanted: &str) -> Refusal {
    let class = match found {
        Document::Map(_) => {
            return Refusal::serialization("Start of structure or map found where not expected.");
        }
        Document::List(_) => {
            return Refusal::serialization("Start of list found where not expected");
        }
        Document::Bool(_) => "class java.lang.Boolean",
        Document::Integer(_) | Document::Float(_) | Document::Timestamp(_) => {
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
        }
        Document::Blob(_) => "class java.nio.HeapByteBuffer",
        Document::Text(_) | Document::Null => "class java.lang.String",
    };
    let article = match wanted {
        "Blob" | "Map" => "a ",
        "milliseconds since epoch" => "",
        _ => "an ",
    };
    Refusal::serialization(format!("{class} can not be converted to {article}{wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{cbor, json};

    fn bytes(blob: Blob<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        blob.append_to(&mut bytes).unwrap();
        bytes
    }

    const JSON: &[u8] =
        br#"{"S":"x","N":7,"F":1.9,"B":true,"D":"aGk=","T":1700000000.5,"L":[{}],"M":{"S":"y"}}"#;

    #[test]
    fn members_of_each_type_are_read() {
        let document = json::decode(JSON).unwrap();
        let fields = Fields::new(&document, Encoding::Json);
        assert_eq!(fields.text("S").unwrap(), Some("x"));
        assert_eq!(fields.integer("N").unwrap(), Some(7));
        assert_eq!(fields.integer("F").unwrap(), Some(1));
        assert_eq!(fields.boolean("B").unwrap(), Some(true));
        assert_eq!(bytes(fields.blob("D").unwrap().unwrap()), b"hi");
        assert_eq!(fields.timestamp("T").unwrap(), Some(1_700_000_000_500));
        assert_eq!(fields.list("L").unwrap().map(<[_]>::len), Some(1));
        let inner = fields.structure("M").unwrap().unwrap();
        assert_eq!(inner.text("S").unwrap(), Some("y"));
        assert_eq!(fields.text("absent").unwrap(), None);
    }

    #[test]
    fn a_cbor_timestamp_is_milliseconds_and_a_blob_is_bytes() {
        let body = [
            0xa2, 0x61, b'T', 0xc1, 0x1b, 0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x07, 0x61, b'D',
            0x42, b'h', b'i',
        ];
        let document = cbor::decode(&body).unwrap();
        let fields = Fields::new(&document, Encoding::Cbor);
        assert_eq!(fields.timestamp("T").unwrap(), Some(1_700_000_000_007));
        assert_eq!(bytes(fields.blob("D").unwrap().unwrap()), b"hi");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let document = json::decode(JSON).unwrap();
        let fields = Fields::new(&document, Encoding::Json);
        let problems = [
            fields.text("N").unwrap_err(),
            fields.integer("S").unwrap_err(),
            fields.boolean("S").unwrap_err(),
            fields.blob("N").unwrap_err(),
            fields.blob("S").unwrap_err(),
            fields.timestamp("S").unwrap_err(),
            fields.list("M").unwrap_err(),
            fields.list("S").unwrap_err(),
            fields.structure("S").unwrap_err(),
            fields.text("L").unwrap_err(),
        ];
        for problem in problems {
            assert_eq!(problem.code, "SerializationException");
            assert!(!problem.message.is_empty());
        }
    }
}
