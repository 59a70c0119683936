//! Text as a view of the buffer that it arrived in.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// A `str` that shares the buffer it was cut from. Cloning copies no text.
///
/// Made from bytes that are not UTF-8 it owns a text with U+FFFD in their place, as the KCL gives
/// it. It keeps the whole buffer alive; whoever stores it for long copies it with `to_string`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Utf8Bytes(Bytes);

impl Utf8Bytes {
    /// The text of `bytes`; what is not UTF-8 becomes U+FFFD, as in Java's `String`.
    pub fn from_bytes_lossy(bytes: Bytes) -> Self {
        let replaced = match std::str::from_utf8(&bytes) {
            Ok(_) => None,
            Err(_) => Some(replace(&bytes)),
        };
        match replaced {
            None => Utf8Bytes(bytes),
            Some(text) => Utf8Bytes(Bytes::from(text)),
        }
    }

    /// The text of bytes that are known to be UTF-8: spares a second look at them.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Utf8Bytes(bytes)
    }

    /// The text. Costs a check of its bytes, which is the price of a view without unsafe code.
    pub fn as_str(&self) -> &str {
        // Only ever made from checked text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Java's decoder gives one U+FFFD for a surrogate that was encoded in three bytes (or for its first
/// two), Rust's one for each byte; in all else the two agree.
fn replace(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while let Some(at) = bytes
        .windows(2)
        .position(|w| matches!(w, [0xED, 0xA0..=0xBF]))
    {
        let (before, surrogate) = bytes.split_at(at);
        text.push_str(&String::from_utf8_lossy(before));
        text.push('\u{FFFD}');
        let length = if matches!(surrogate, [_, _, 0x80..=0xBF, ..]) {
            3
        } else {
            2
        };
        bytes = surrogate.get(length..).unwrap_or_default();
    }
    text.push_str(&String::from_utf8_lossy(bytes));
    text
}

impl Deref for Utf8Bytes {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Utf8Bytes {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The bytes of the text, without a copy.
impl From<Utf8Bytes> for Bytes {
    fn from(text: Utf8Bytes) -> Self {
        text.0
    }
}

/// Takes over the allocation.
impl From<String> for Utf8Bytes {
    fn from(text: String) -> Self {
        Utf8Bytes(Bytes::from(text))
    }
}

impl From<&'static str> for Utf8Bytes {
    fn from(text: &'static str) -> Self {
        Utf8Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl Hash for Utf8Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Utf8Bytes {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Utf8Bytes {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_a_view_of_its_buffer() {
        let buffer = Bytes::from_static("xgrüßex".as_bytes());
        let text = Utf8Bytes::from_bytes_lossy(buffer.slice(1..8));
        assert_eq!(text, "grüße");
        assert_eq!(text.as_str().as_ptr(), buffer.slice(1..).as_ptr());
    }

    /// What `new String(bytes, UTF_8)` gives in Java 17.
    #[test]
    fn replacement_as_in_java() {
        let cases: [(&[u8], &str); 12] = [
            (b"\xff", "\u{FFFD}"),
            (b"a\xc3", "a\u{FFFD}"),
            (b"\xe2\x82", "\u{FFFD}"),
            (b"\xe2\x82a", "\u{FFFD}a"),
            (b"\xed\xa0\x80", "\u{FFFD}"),
            (
                b"\xed\xa0\x80\xed\xbf\xbfz\xff",
                "\u{FFFD}\u{FFFD}z\u{FFFD}",
            ),
            (b"\xf4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xc0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xe0\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xed\xa0", "\u{FFFD}"),
            (b"\xed\xa0x", "\u{FFFD}x"),
            (b"\xf0\x9f\x98", "\u{FFFD}"),
        ];
        for (bytes, want) in cases {
            let text = Utf8Bytes::from_bytes_lossy(Bytes::from_static(bytes));
            assert_eq!(text.as_str(), want, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_text(bytes: Vec<u8>) {
            let text = Utf8Bytes::from_bytes_lossy(Bytes::from(bytes.clone()));
            match std::str::from_utf8(&bytes) {
                Ok(valid) => prop_assert_eq!(text.as_str(), valid),
                Err(_) => {
                    let replaced = text.contains(char::REPLACEMENT_CHARACTER);
                    prop_assert!(replaced);
                }
            }
        }
    }
}
