//! The header that serializers of the AWS Glue Schema Registry put before a record's data: eighteen
//! bytes. What follows is the caller's; no registry is asked.

use std::fmt;

use bytes::Bytes;

/// Bytes that the header takes.
pub const GLUE_HEADER_SIZE: usize = 18;

const VERSION: u8 = 3;
const PLAIN: u8 = 0;
const ZLIB: u8 = 5;

/// How the data behind the header is compressed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum GlueCompression {
    /// Not at all.
    None,
    /// A zlib stream (RFC 1950).
    Zlib,
}

/// The header: by which version of a schema the data is written, and whether it is compressed.
///
/// Byte 0 is the header's version (3), byte 1 the compression (0 or 5), bytes 2 to 17 the id of the
/// schema's version, a UUID, the most significant byte first: as the official serializers for Java
/// write it.
///
/// ```
/// use aggregation::{GlueCompression, GlueHeader};
/// let header = GlueHeader { schema_version: 1, compression: GlueCompression::None };
/// let data = header.prepend(b"{}");
/// assert_eq!(GlueHeader::split(&data), Some((header, data.slice(18..))));
/// ```
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct GlueHeader {
    /// The UUID of the schema's version, as a number.
    pub schema_version: u128,
    /// Whether the data behind the header is compressed.
    pub compression: GlueCompression,
}

impl GlueHeader {
    /// The eighteen bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; GLUE_HEADER_SIZE] {
        let mut bytes = [0; GLUE_HEADER_SIZE];
        let compression = match self.compression {
            GlueCompression::None => PLAIN,
            GlueCompression::Zlib => ZLIB,
        };
        let id = self.schema_version.to_be_bytes();
        for (place, byte) in bytes
            .iter_mut()
            .zip([VERSION, compression].into_iter().chain(id))
        {
            *place = byte;
        }
        bytes
    }

    /// The header and `data` (compressed already if the header says so) in one buffer.
    #[must_use]
    pub fn prepend(self, data: &[u8]) -> Bytes {
        let mut joined = Vec::with_capacity(GLUE_HEADER_SIZE + data.len());
        joined.extend_from_slice(&self.to_bytes());
        joined.extend_from_slice(data);
        Bytes::from(joined)
    }

    /// The header that data starts with, and what follows it, a view; none if there is no such header.
    /// Two bytes are all that tells: data of another making can look the same, as it can to the
    /// official deserializers.
    #[must_use]
    pub fn split(data: &Bytes) -> Option<(Self, Bytes)> {
        let (head, _) = data.split_first_chunk::<GLUE_HEADER_SIZE>()?;
        let [version, compression, id @ ..] = *head;
        let compression = match compression {
            PLAIN => GlueCompression::None,
            ZLIB => GlueCompression::Zlib,
            _ => return None,
        };
        let header = GlueHeader {
            schema_version: u128::from_be_bytes(id),
            compression,
        };
        (version == VERSION).then(|| (header, data.slice(GLUE_HEADER_SIZE..)))
    }
}

/// Shows the id as UUIDs are written.
impl fmt::Debug for GlueHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.schema_version;
        let uuid = format_args!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            id >> 96,
            (id >> 80) & 0xffff,
            (id >> 64) & 0xffff,
            (id >> 48) & 0xffff,
            id & 0xffff_ffff_ffff
        );
        f.debug_struct("GlueHeader")
            .field("schema_version", &uuid)
            .field("compression", &self.compression)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u128 = 0xb7b4_a7f0_9c96_4e4a_a687_fb5d_e9ef_0c63;

    /// The layout of the registry's wire format: 3, 0 or 5, and the UUID
    /// `b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63`.
    #[test]
    fn the_bytes() {
        for (compression, byte) in [(GlueCompression::None, 0), (GlueCompression::Zlib, 5)] {
            let header = GlueHeader {
                schema_version: ID,
                compression,
            };
            let mut want = vec![3, byte];
            want.extend([0xb7, 0xb4, 0xa7, 0xf0, 0x9c, 0x96, 0x4e, 0x4a]);
            want.extend([0xa6, 0x87, 0xfb, 0x5d, 0xe9, 0xef, 0x0c, 0x63]);
            want.extend(b"data");
            let data = header.prepend(b"data");
            assert_eq!(data, want);
            assert_eq!(
                GlueHeader::split(&data),
                Some((header, Bytes::from_static(b"data")))
            );
        }
        let header = GlueHeader {
            schema_version: ID,
            compression: GlueCompression::None,
        };
        let shown = format!("{header:?}");
        assert!(
            shown.contains("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63"),
            "{shown}"
        );
    }

    #[test]
    fn what_has_no_header() {
        let header = GlueHeader {
            schema_version: ID,
            compression: GlueCompression::None,
        };
        let good = header.to_bytes();
        assert!(
            GlueHeader::split(&Bytes::copy_from_slice(&good)).is_some(),
            "no data is data too"
        );
        for (at, byte) in [(0, 2), (0, b'{'), (1, 1)] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(GlueHeader::split(&Bytes::copy_from_slice(&bad)), None);
        }
        assert_eq!(
            GlueHeader::split(&Bytes::copy_from_slice(&good[..17])),
            None
        );
        assert_eq!(GlueHeader::split(&Bytes::new()), None);
    }
}
