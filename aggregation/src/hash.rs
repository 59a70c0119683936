//! Hash keys: where on the 128-bit ring a record belongs.

use std::fmt;
use std::str::FromStr;

use crate::md5::{SHORT, md5_many, md5_one, md5_short};

/// A place on the ring of hash keys, 0 … 2^128 − 1. A record goes to the shard whose range holds
/// its hash key.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HashKey(u128);

/// Why a text is no hash key.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashKeyError {
    /// There is nothing (but blanks, where these are allowed).
    #[error("the hash key is empty")]
    Empty,
    /// Something other than decimal digits.
    #[error("the hash key is not a decimal number")]
    NotANumber,
    /// A decimal number, but not in its one canonical form: leading zeros.
    #[error("the hash key has leading zeros")]
    NotCanonical,
    /// A number below 0 or above 2^128 − 1.
    #[error("the hash key is not between 0 and 2^128 - 1")]
    OutOfRange,
}

impl HashKey {
    /// The lowest hash key, 0.
    pub const MIN: HashKey = HashKey(u128::MIN);
    /// The highest hash key, 2^128 − 1.
    pub const MAX: HashKey = HashKey(u128::MAX);

    /// The hash key of a number.
    pub const fn new(number: u128) -> Self {
        HashKey(number)
    }

    /// The number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The hash key that Kinesis gives a record with this partition key: the MD5 of its UTF-8 bytes,
    /// read as a big-endian number.
    pub fn of_partition_key(partition_key: &str) -> Self {
        Self::of_digest(md5_one(partition_key.as_bytes()))
    }

    pub(crate) fn of_digest(digest: [u8; 16]) -> Self {
        HashKey(u128::from_be_bytes(digest))
    }

    /// Reads the canonical decimal form, the only one the service takes: `0`, or digits without
    /// leading zeros.
    ///
    /// # Errors
    /// [`HashKeyError`] for anything else, and for numbers above 2^128 − 1.
    pub fn parse_decimal(text: &str) -> Result<Self, HashKeyError> {
        if text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HashKeyError::NotCanonical);
        }
        if text.starts_with(['+', '-']) {
            return Err(HashKeyError::NotANumber);
        }
        Self::parse_integer(text)
    }

    /// Reads what the KPL takes from a user: blanks at both ends (all characters up to U+0020, as
    /// Java's `trim`), a sign and leading zeros are allowed. `-0` is 0.
    ///
    /// # Errors
    /// [`HashKeyError`] for what is not an integer, and for integers outside 0 … 2^128 − 1.
    pub fn parse_lenient(text: &str) -> Result<Self, HashKeyError> {
        Self::parse_integer(text.trim_matches(|c: char| c <= ' '))
    }

    /// As Java's `BigInteger(String)` with the bounds of a hash key, which is how the KCL reads the
    /// hash keys in an aggregate; of digits only the ASCII ones.
    pub(crate) fn parse_integer(text: &str) -> Result<Self, HashKeyError> {
        if text.is_empty() {
            return Err(HashKeyError::Empty);
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HashKeyError::NotANumber);
        }
        match digits.parse() {
            Ok(0) => Ok(HashKey::MIN),
            Ok(number) if !negative => Ok(HashKey(number)),
            // Digits are all there is, so the only thing that can be wrong is the magnitude.
            _ => Err(HashKeyError::OutOfRange),
        }
    }

    /// The length of the decimal form, 1 … 39 bytes.
    pub(crate) fn decimal_len(self) -> usize {
        // At most 38, in any usize.
        self.0
            .checked_ilog10()
            .map_or(1, |log| usize::try_from(log).map_or(39, |log| log + 1))
    }
}

impl From<u128> for HashKey {
    fn from(number: u128) -> Self {
        HashKey(number)
    }
}

impl From<HashKey> for u128 {
    fn from(key: HashKey) -> Self {
        key.0
    }
}

/// The canonical decimal form.
impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// As [`HashKey::parse_decimal`].
impl FromStr for HashKey {
    type Err = HashKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_decimal(text)
    }
}

/// The hash key of each partition key, in order, hashed together. `out` is cleared first; its
/// allocation is reused, and keys of up to 55 bytes need no other.
pub fn hash_keys<'a>(keys: &[&'a str], out: &mut Vec<HashKey>) {
    out.clear();
    // Pieces that fit the stack.
    const AT_ONCE: usize = 128;
    let mut longer = Vec::new();
    for keys in keys.chunks(AT_ONCE) {
        let mut inputs: [&'a [u8]; AT_ONCE] = [&[]; AT_ONCE];
        let mut short = true;
        for (input, key) in inputs.iter_mut().zip(keys) {
            *input = key.as_bytes();
            short &= key.len() <= SHORT;
        }
        let inputs = inputs.get(..keys.len()).unwrap_or_default();
        let mut digests = [[0; 16]; AT_ONCE];
        let digests = if short {
            let digests = digests.get_mut(..keys.len()).unwrap_or_default();
            md5_short(inputs, digests);
            digests
        } else {
            md5_many(inputs, &mut longer);
            &mut longer
        };
        out.extend(digests.iter().map(|digest| HashKey::of_digest(*digest)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::HashKeyError::{Empty, NotANumber, NotCanonical, OutOfRange};
    use super::*;

    const TOP: &str = "340282366920938463463374607431768211455";
    const BEYOND: &str = "340282366920938463463374607431768211456";

    #[test]
    fn known_hash_keys() {
        for (key, want) in [
            ("a", "16955237001963240173058271559858726497"),
            ("b", "195289424170611159128911017612795795343"),
            ("pk", "38317986088707300215492326132921849533"),
        ] {
            assert_eq!(HashKey::of_partition_key(key).to_string(), want);
        }
    }

    #[test]
    fn decimal_forms() {
        // text, strict, lenient
        for (text, strict, lenient) in [
            ("0", Ok(0), Ok(0)),
            ("7", Ok(7), Ok(7)),
            (TOP, Ok(u128::MAX), Ok(u128::MAX)),
            (BEYOND, Err(OutOfRange), Err(OutOfRange)),
            (
                "99999999999999999999999999999999999999999999",
                Err(OutOfRange),
                Err(OutOfRange),
            ),
            ("", Err(Empty), Err(Empty)),
            (" \t\n", Err(NotANumber), Err(Empty)),
            ("007", Err(NotCanonical), Ok(7)),
            ("00", Err(NotCanonical), Ok(0)),
            ("+7", Err(NotANumber), Ok(7)),
            ("-0", Err(NotANumber), Ok(0)),
            ("-1", Err(NotANumber), Err(OutOfRange)),
            ("+", Err(NotANumber), Err(NotANumber)),
            ("+-7", Err(NotANumber), Err(NotANumber)),
            ("0x7", Err(NotANumber), Err(NotANumber)),
            ("1 2", Err(NotANumber), Err(NotANumber)),
            (" 42\r\n", Err(NotANumber), Ok(42)),
            ("\u{0}42\u{1f}", Err(NotANumber), Ok(42)),
            ("\u{a0}42", Err(NotANumber), Err(NotANumber)),
            ("abc", Err(NotANumber), Err(NotANumber)),
        ] {
            assert_eq!(
                HashKey::parse_decimal(text),
                strict.map(HashKey),
                "strict {text:?}"
            );
            assert_eq!(text.parse(), strict.map(HashKey), "strict {text:?}");
            assert_eq!(
                HashKey::parse_lenient(text),
                lenient.map(HashKey),
                "lenient {text:?}"
            );
        }
        let zeros = format!("{}7", "0".repeat(100));
        assert_eq!(HashKey::parse_lenient(&zeros), Ok(HashKey(7)));
    }

    #[test]
    fn many_keys_as_one_by_one() {
        let names: Vec<String> = (0..150).map(|n| format!("key-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut out = vec![HashKey::MAX];
        for take in [0, 1, 63, 64, 65, 150] {
            hash_keys(&names[..take], &mut out);
            let want: Vec<HashKey> = names[..take]
                .iter()
                .map(|k| HashKey::of_partition_key(k))
                .collect();
            assert_eq!(out, want);
        }
    }

    proptest! {
        #[test]
        fn display_is_the_canonical_form(number: u128, shift in 0_u32..128) {
            let key = HashKey(number >> shift);
            let text = key.to_string();
            prop_assert_eq!(text.len(), key.decimal_len());
            prop_assert_eq!(HashKey::parse_decimal(&text), Ok(key));
            prop_assert_eq!(HashKey::parse_lenient(&text), Ok(key));
        }

        #[test]
        fn any_text_is_an_answer(text in ".{0,50}") {
            if let Ok(key) = HashKey::parse_decimal(&text) {
                prop_assert_eq!(key.to_string(), text.as_str());
                prop_assert_eq!(HashKey::parse_lenient(&text), Ok(key));
            }
        }
    }
}
