//! What a request holds, whichever encoding it came in.

use std::borrow::Cow;

/// A decoded value. Text and bytes borrow from the request body where its encoding allows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Document<'a> {
    /// JSON `null`, CBOR null or undefined.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A CBOR byte string. JSON has none: its blobs are base64 text.
    Blob(Cow<'a, [u8]>),
    /// A point in time, in milliseconds since the Unix epoch (CBOR tag 1). JSON has none: its
    /// timestamps are numbers of seconds.
    Timestamp(f64),
    /// A list.
    List(Vec<Document<'a>>),
    /// A structure or map, in the order it was written.
    Map(Vec<(Cow<'a, str>, Document<'a>)>),
}

/// The members of a structure or map, in the order they were written.
pub(crate) type Members<'a> = [(Cow<'a, str>, Document<'a>)];

impl<'a> Document<'a> {
    /// The member of a structure; the last one when a name comes twice. `null` counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Document<'a>> {
        match self {
            Self::Map(members) => members
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
                .filter(|value| !matches!(value, Document::Null)),
            _ => None,
        }
    }
}
