//! Bytes that are still as the request wrote them.

use crate::refusal::Refusal;

/// A payload that is known to be sound, but not decoded yet: so that it is decoded where it will stay.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blob<'d> {
    Plain(&'d [u8]),
    /// Its decoded length, and its text.
    Base64(usize, &'d [u8]),
}

impl<'d> Blob<'d> {
    /// Bytes in base64.
    pub(crate) fn base64(text: &'d str) -> Result<Self, base64_simd::Error> {
        let text = text.as_bytes();
        base64_simd::STANDARD.check(text)?;
        let length = base64_simd::STANDARD.decoded_length(text)?;
        Ok(Self::Base64(length, text))
    }

    /// How many bytes it is.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Base64(length, _) => *length,
        }
    }

    /// Appends the bytes. What [`Blob::base64`] made is sound, so that this does not fail.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Self::Plain(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Self::Base64(_, text) => base64_simd::STANDARD
                .decode_append(text, out)
                .map_err(|e| Refusal::serialization(format!("A Blob is no base64: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_length_is_known_before_decoding(bytes: Vec<u8>, before: Vec<u8>) {
            let text = base64_simd::STANDARD.encode_to_string(&bytes);
            for blob in [Blob::base64(&text).unwrap(), Blob::Plain(&bytes)] {
                prop_assert_eq!(blob.len(), bytes.len());
                let mut out = before.clone();
                blob.append_to(&mut out).unwrap();
                prop_assert_eq!(&out[..before.len()], &before[..]);
                prop_assert_eq!(&out[before.len()..], &bytes[..]);
            }
        }

        #[test]
        fn what_is_checked_can_be_decoded_and_what_is_refused_cannot(text in "[A-Za-z0-9+/=_ -]{0,12}") {
            let decoded = base64_simd::STANDARD.decode_to_vec(&text);
            match Blob::base64(&text) {
                Ok(blob) => {
                    let mut out = Vec::new();
                    blob.append_to(&mut out).unwrap();
                    prop_assert_eq!(out, decoded.unwrap());
                }
                Err(error) => {
                    prop_assert_eq!(error.to_string(), decoded.unwrap_err().to_string());
                }
            }
        }
    }
}
