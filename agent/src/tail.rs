//! Reading one file. Blocking; by position, never by a file pointer.

use crate::identity::{HEAD_BYTES, Head, Place};
use crate::scan::read_fully;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes of one read.
pub(crate) const BLOCK: usize = 512 * 1024;
/// Bytes looked through for the end of an over-long line in one go.
const SEARCH: u64 = 16 * 1024 * 1024;
/// The original looks this far back for the last newline.
const LOOK_BACK: u64 = 5 * 1024 * 1024;

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes of the generation, and its head, which may have grown.
    Data { block: Bytes, head: Head },
    /// The file does not hold the generation any more: it was truncated or overwritten.
    Replaced,
}

/// Reads up to `want` bytes. The head is verified after the block was read: a truncation comes before
/// the bytes that follow it, so a block with a right head after it is of this generation.
pub(crate) fn read(file: &File, at: u64, want: usize, head: &Head) -> io::Result<Read> {
    if file.metadata()?.len() < at {
        return Ok(Read::Replaced);
    }
    let mut block = vec![0; want];
    let got = read_fully(file, &mut block, at)?;
    block.truncate(got);
    let mut start = vec![0; HEAD_BYTES];
    let got = read_fully(file, &mut start, 0)?;
    start.truncate(got);
    // A block that was read and is not there any more was cut off meanwhile.
    let shrunk = file.metadata()?.len() < at + block.len() as u64;
    if shrunk || !head.matches(&start) {
        return Ok(Read::Replaced);
    }
    Ok(Read::Data {
        block: Bytes::from(block),
        head: Head::of(&start),
    })
}

/// Where the next newline is: its position, or how far was looked in vain.
pub(crate) fn find_newline(file: &File, from: u64) -> io::Result<Result<u64, u64>> {
    let mut at = from;
    let mut block = vec![0; BLOCK];
    while at < from + SEARCH {
        let got = read_fully(file, &mut block, at)?;
        if got == 0 {
            break;
        }
        let found = block.iter().take(got).position(|byte| *byte == b'\n');
        if let Some(n) = found {
            return Ok(Ok(at + n as u64));
        }
        at += got as u64;
    }
    Ok(Err(at))
}

/// Where END_OF_FILE begins: after the last newline of the last 5 MiB, so that a line which is being
/// written is sent whole; at the start of a shorter file that has none.
pub(crate) fn end_position(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let floor = size.saturating_sub(LOOK_BACK);
    let mut end = size;
    let mut block = vec![0; BLOCK];
    while end > floor {
        let start = end.saturating_sub(BLOCK as u64).max(floor);
        let len = usize::try_from(end - start).unwrap_or(BLOCK);
        let part = block.get_mut(..len).unwrap_or_default();
        let got = read_fully(file, part, start)?;
        if let Some(n) = part.iter().take(got).rposition(|byte| *byte == b'\n') {
            return Ok(start + n as u64 + 1);
        }
        end = start;
    }
    Ok(if floor == 0 { 0 } else { size })
}

/// Opens a file if it still lives at its place; `None` when it does not.
pub(crate) fn open(path: &Path, place: &Place) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let same = place.is(&Place::of(&file.metadata()?));
    Ok(same.then_some(file))
}

/// True when all of `copy` is what `original` begins with: the heads, the end of the copy, and samples
/// between. An empty file is no copy yet.
pub(crate) fn repeats(copy: &File, original: &File) -> io::Result<bool> {
    const SAMPLES: u64 = 16;
    let size = copy.metadata()?.len();
    if size == 0 || original.metadata()?.len() < size {
        return Ok(false);
    }
    let mut starts: Vec<u64> = (0..SAMPLES).map(|n| size / SAMPLES * n).collect();
    starts.push(size.saturating_sub(SAMPLE as u64));
    for start in starts {
        if !equal_at(copy, original, start, size)? {
            return Ok(false);
        }
    }
    Ok(true)
}

const SAMPLE: usize = 16 * 1024;

fn equal_at(a: &File, b: &File, at: u64, end: u64) -> io::Result<bool> {
    let len = usize::try_from(end - at).unwrap_or(SAMPLE).min(SAMPLE);
    let (mut left, mut right) = (vec![0; len], vec![0; len]);
    let got = (
        read_fully(a, &mut left, at)?,
        read_fully(b, &mut right, at)?,
    );
    Ok(got == (len, len) && left == right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn file(content: &[u8]) -> (tempfile::NamedTempFile, File) {
        let mut named = tempfile::NamedTempFile::new().unwrap();
        named.write_all(content).unwrap();
        let open = File::open(named.path()).unwrap();
        (named, open)
    }

    #[test]
    fn a_block_is_of_the_generation_or_is_refused() {
        let (named, open) = file(b"one\ntwo\n");
        let head = Head::of(b"one\n");
        let data = |block: &'static [u8], whole: &[u8]| Read::Data {
            block: Bytes::from_static(block),
            head: Head::of(whole),
        };
        assert_eq!(
            read(&open, 4, 100, &head).unwrap(),
            data(b"two\n", b"one\ntwo\n")
        );
        assert_eq!(
            read(&open, 4, 2, &head).unwrap(),
            data(b"tw", b"one\ntwo\n")
        );
        assert_eq!(read(&open, 8, 2, &head).unwrap(), data(b"", b"one\ntwo\n"));
        assert_eq!(read(&open, 9, 2, &head).unwrap(), Read::Replaced);
        fs::write(named.path(), "new\ncontent, longer\n").unwrap();
        assert_eq!(read(&open, 4, 100, &head).unwrap(), Read::Replaced);
        fs::write(named.path(), "").unwrap();
        assert_eq!(read(&open, 0, 100, &head).unwrap(), Read::Replaced);
        assert_eq!(read(&open, 0, 9, &Head::empty()).unwrap(), data(b"", b""));
    }

    #[test]
    fn the_end_is_after_the_last_newline() {
        let mut long = vec![b'x'; 6 * 1024 * 1024];
        let cases = [
            (b"".to_vec(), 0),
            (b"a\nb\n".to_vec(), 4),
            (b"a\nb\npart".to_vec(), 4),
            (b"part".to_vec(), 0),
            (long.clone(), 6 * 1024 * 1024),
        ];
        for (content, expected) in cases {
            assert_eq!(end_position(&file(&content).1).unwrap(), expected);
        }
        long[2_000_000] = b'\n';
        assert_eq!(end_position(&file(&long).1).unwrap(), 2_000_001);
        assert_eq!(find_newline(&file(&long).1, 5).unwrap(), Ok(2_000_000));
        assert_eq!(
            find_newline(&file(&long).1, 2_000_001).unwrap(),
            Err(6 * 1024 * 1024)
        );
    }

    #[test]
    fn a_copy_repeats_its_original() {
        let long: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let mut other = long.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        let cases: [(&[u8], &[u8], bool); 7] = [
            (b"", b"abc", false),
            (b"ab", b"abc", true),
            (b"abc", b"abc", true),
            (b"abcd", b"abc", false),
            (b"ac", b"abc", false),
            (&long[..500_000], &long, true),
            (&other, &long, false),
        ];
        for (copy, original, expected) in cases {
            assert_eq!(repeats(&file(copy).1, &file(original).1).unwrap(), expected);
        }
    }

    #[test]
    fn a_name_that_another_file_has_since_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "1").unwrap();
        fs::write(&other, "2").unwrap();
        let place = Place::of(&fs::metadata(&path).unwrap());
        assert!(open(&path, &place).unwrap().is_some());
        fs::rename(&other, &path).unwrap();
        assert!(open(&path, &place).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        assert!(open(&path, &place).unwrap().is_none());
    }
}
