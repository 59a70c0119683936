//! One look at a directory: which files there are, where they live, how they begin. Blocking.

use crate::config::Glob;
use crate::identity::{HEAD_BYTES, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A regular file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path.
    pub path: PathBuf,
    /// Where it lives.
    pub place: Place,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in milliseconds since the Unix epoch.
    pub modified: i64,
    /// Its name fits the flow's pattern.
    pub matches: bool,
    /// It could be opened, if that was tried.
    pub readable: bool,
    /// Its first bytes, at most [`HEAD_BYTES`]; `None` = not read in this scan.
    pub head: Option<Vec<u8>>,
}

/// What is known of a file already, so that it need not be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Its size then.
    pub size: u64,
    /// Its time of writing then.
    pub modified: i64,
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct Request {
    /// The directory.
    pub directory: PathBuf,
    /// The pattern on file names.
    pub glob: Glob,
    /// Files known by device and inode; they are listed under any name.
    pub known: BTreeMap<(u64, u64), Sight>,
    /// Read the head of every file, those outside of the pattern included: a copy is looked for.
    pub all_heads: bool,
}

/// Why a name that fits the pattern is not tailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Skip {
    /// It is a directory.
    Directory,
    /// It is a socket, a pipe or a device.
    Special,
    /// It is a symlink to nothing.
    Dangling,
    /// It is another name of a file that is tailed.
    SecondName,
    /// It may not be read.
    Unreadable,
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory => "it is a directory",
            Self::Special => "it is not a regular file",
            Self::Dangling => "it is a symlink to nothing",
            Self::SecondName => "it is another name of a file that is tailed",
            Self::Unreadable => "it cannot be read",
        })
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files, in the order of their paths.
    pub files: Vec<Seen>,
    /// Names that fit and are not tailed, in the order of their paths.
    pub skipped: BTreeMap<PathBuf, Skip>,
}

/// Archives, which the original leaves out by the end of the name in lower case.
const ARCHIVES: [&str; 3] = [".gz", ".bz2", ".zip"];

/// Looks at the directory.
///
/// # Errors
/// The directory does not exist or cannot be listed. What happens to single files (removed between
/// listing and opening, unreadable) is no error.
pub fn scan(request: &Request) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let inodes: BTreeSet<u64> = request.known.keys().map(|(_, inode)| *inode).collect();
    let mut paths: Vec<(PathBuf, bool)> = Vec::new();
    for entry in std::fs::read_dir(&request.directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let lower = name.to_lowercase();
        let matches =
            request.glob.matches(&name) && !ARCHIVES.iter().any(|archive| lower.ends_with(archive));
        let known = inodes.contains(&entry.ino());
        if matches || known || request.all_heads {
            paths.push((entry.path(), matches));
        }
    }
    // Names that fit come first, so that a file is known by such a name if it has one.
    paths.sort_by(|a, b| (!a.1, &a.0).cmp(&(!b.1, &b.0)));
    let mut places = BTreeSet::new();
    for (path, matches) in paths {
        look(request, path, matches, &mut places, &mut scan);
    }
    scan.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

fn look(
    request: &Request,
    path: PathBuf,
    matches: bool,
    places: &mut BTreeSet<(u64, u64)>,
    scan: &mut Scan,
) {
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) => {
            if matches && error.kind() == io::ErrorKind::PermissionDenied {
                scan.skipped.insert(path, Skip::Unreadable);
            } else if matches && path.is_symlink() {
                scan.skipped.insert(path, Skip::Dangling);
            }
            // Else it was removed since it was listed.
            return;
        }
    };
    let place = Place::of(&metadata);
    if !metadata.is_file() {
        if matches {
            let skip = if metadata.is_dir() {
                Skip::Directory
            } else {
                Skip::Special
            };
            scan.skipped.insert(path, skip);
        }
        return;
    }
    if !places.insert(place.key()) {
        if matches {
            scan.skipped.insert(path, Skip::SecondName);
        }
        return;
    }
    let sight = Sight {
        size: metadata.len(),
        modified: millis(metadata.modified().ok()),
    };
    let mut seen = Seen {
        place,
        size: sight.size,
        modified: sight.modified,
        matches,
        readable: true,
        head: None,
        path,
    };
    if request.all_heads || request.known.get(&place.key()) != Some(&sight) {
        match head(&seen.path, &place) {
            Ok(Some(start)) => seen.head = Some(start),
            // Another file has the name since; the next scan sees it.
            Ok(None) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(_) => {
                seen.readable = false;
                if matches {
                    scan.skipped.insert(seen.path.clone(), Skip::Unreadable);
                }
            }
        }
    }
    scan.files.push(seen);
}

fn head(path: &Path, place: &Place) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if !place.is(&Place::of(&file.metadata()?)) {
        return Ok(None);
    }
    let mut start = vec![0; HEAD_BYTES];
    let got = read_fully(&file, &mut start, 0)?;
    start.truncate(got);
    Ok(Some(start))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_fully(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

pub(crate) fn millis(at: Option<SystemTime>) -> i64 {
    at.map_or(0, |at| {
        i64::try_from(runtime::time::epoch_millis(at)).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn request(directory: &Path, glob: &str) -> Request {
        Request {
            directory: directory.to_owned(),
            glob: Glob::new(glob).unwrap(),
            known: BTreeMap::new(),
            all_heads: false,
        }
    }

    fn names(scan: &Scan) -> Vec<String> {
        scan.files
            .iter()
            .map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_fits_is_listed_and_what_cannot_be_tailed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "app.log",
            "app.log.1",
            "app.log.2.gz",
            "app.log.3.BZ2",
            "app.log.4.zip",
            "other",
        ] {
            fs::write(at(name), name).unwrap();
        }
        fs::create_dir(at("app.log.d")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("app.log.link")).unwrap();
        fs::hard_link(at("app.log"), at("app.log.hard")).unwrap();
        std::os::unix::fs::symlink(at("other"), at("app.log.other")).unwrap();
        let found = scan(&request(dir.path(), "app.log*")).unwrap();
        assert_eq!(names(&found), ["app.log", "app.log.1", "app.log.other"]);
        let skipped: Vec<_> = found
            .skipped
            .iter()
            .map(|(p, s)| (p.file_name().unwrap().to_str().unwrap().to_owned(), *s))
            .collect();
        assert_eq!(
            skipped,
            [
                ("app.log.d".to_owned(), Skip::Directory),
                ("app.log.hard".to_owned(), Skip::SecondName),
                ("app.log.link".to_owned(), Skip::Dangling),
            ]
        );
        assert_eq!(found.files[0].head.as_deref(), Some(b"app.log".as_slice()));
    }

    #[test]
    fn a_known_file_is_listed_under_any_name_and_read_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("app.log"), dir.path().join("moved"));
        fs::write(&old, "content").unwrap();
        let mut request = request(dir.path(), "app.log");
        let first = scan(&request).unwrap().files.remove(0);
        let sight = Sight {
            size: first.size,
            modified: first.modified,
        };
        request.known.insert(first.place.key(), sight);
        fs::rename(&old, &new).unwrap();
        let again = scan(&request).unwrap();
        assert_eq!(names(&again), ["moved"]);
        assert!(!again.files[0].matches && again.files[0].head.is_none());
        request
            .known
            .insert(first.place.key(), Sight { size: 1, ..sight });
        assert!(scan(&request).unwrap().files[0].head.is_some());
        request.known.clear();
        assert!(scan(&request).unwrap().files.is_empty());
        request.all_heads = true;
        assert_eq!(names(&scan(&request).unwrap()), ["moved"]);
    }

    #[test]
    fn a_missing_directory_is_an_error_to_wait_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = scan(&request(&dir.path().join("absent"), "*")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
