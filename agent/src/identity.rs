//! What makes a file the same file: device, inode, time of birth where the file system knows it, and a
//! hash of its head.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// The head of a file is at most this long. It grows with the file: a shorter file is known by what
/// it had.
pub const HEAD_BYTES: usize = 1024;

/// Where a file lives. The time of birth tells an inode that was given to a new file from the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// Nanoseconds since the Unix epoch at which it was made, where the file system tells.
    pub born: Option<i64>,
}

impl Place {
    /// The place of an open or listed file.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|at| {
            let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_nanos()).ok()
        });
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born,
        }
    }

    /// Device and inode are equal, and nothing that is known of the births contradicts.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let births = match (self.born, other.born) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        births && self.key() == other.key()
    }

    /// Device and inode.
    #[must_use]
    pub fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// The head of a file: how much of it is known, and its MD5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes covered, at most [`HEAD_BYTES`].
    pub len: usize,
    /// Their MD5.
    pub md5: [u8; 16],
}

impl Head {
    /// The head of a file that begins with these bytes.
    #[must_use]
    pub fn of(start: &[u8]) -> Self {
        let covered = start.get(..HEAD_BYTES).unwrap_or(start);
        Self {
            len: covered.len(),
            md5: md5::compute(covered).0,
        }
    }

    /// Nothing is known: the file was empty.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(&[])
    }

    /// True when nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when a file that begins with these bytes may be the one this head was taken of. A file that
    /// is shorter than the head is another one.
    #[must_use]
    pub fn matches(&self, start: &[u8]) -> bool {
        start
            .get(..self.len)
            .is_some_and(|covered| md5::compute(covered).0 == self.md5)
    }
}

/// Reads the original's file id, `(dev=<hex>,ino=<decimal>)`.
#[must_use]
pub fn parse_original_id(text: &str) -> Option<(u64, u64)> {
    let inner = text.strip_prefix("(dev=")?.strip_suffix(')')?;
    let (device, inode) = inner.split_once(",ino=")?;
    Some((u64::from_str_radix(device, 16).ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_grows_with_its_file_and_refuses_another() {
        let long = vec![b'x'; 5000];
        let cases: [(&[u8], &[u8], bool); 8] = [
            (b"", b"", true),
            (b"", b"anything", true),
            (b"one\n", b"one\n", true),
            (b"one\n", b"one\ntwo\n", true),
            (b"one\n", b"one", false),
            (b"one\n", b"two\none\n", false),
            (&long, &long, true),
            (&long, &long[..1000], false),
        ];
        for (before, now, expected) in cases {
            assert_eq!(
                Head::of(before).matches(now),
                expected,
                "{before:?} {now:?}"
            );
        }
        assert_eq!(Head::of(&long).len, HEAD_BYTES);
        assert_eq!(Head::of(&long), Head::of(&long[..HEAD_BYTES]));
    }

    #[test]
    fn a_reused_inode_with_another_birth_is_another_file() {
        let at = |inode, born| Place {
            device: 1,
            inode,
            born,
        };
        assert!(at(5, Some(1)).is(&at(5, Some(1))));
        assert!(at(5, None).is(&at(5, Some(1))));
        assert!(!at(5, Some(1)).is(&at(5, Some(2))));
        assert!(!at(5, None).is(&at(6, None)));
    }

    #[test]
    fn the_originals_ids_are_read() {
        assert_eq!(
            parse_original_id("(dev=fd00,ino=1234)"),
            Some((0xfd00, 1234))
        );
        for bad in [
            "",
            "(dev=xyz,ino=1)",
            "(dev=1)",
            "dev=1,ino=2",
            "(dev=1,ino=a)",
        ] {
            assert_eq!(parse_original_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_place_of_a_file_survives_a_rename() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&a, "x").unwrap();
        let before = Place::of(&std::fs::metadata(&a).unwrap());
        std::fs::rename(&a, &b).unwrap();
        assert!(before.is(&Place::of(&std::fs::metadata(&b).unwrap())));
    }
}
