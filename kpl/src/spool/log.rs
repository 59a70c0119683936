//! The directory: segments that grow and go, the mark, the lock.

use super::done::Done;
use super::segment::{self, Head};
use super::{SpoolDamage, SpoolError, SpoolOptions, SpoolSync};
use crate::record::Record;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".records";
const MARK: &str = "mark";
const NEW_MARK: &str = "mark.new";

/// The spool's files. Blocks.
#[derive(Debug)]
pub(crate) struct Log {
    options: SpoolOptions,
    stream: String,
    /// Ascending; the last one grows if `active` is there.
    segments: VecDeque<Segment>,
    active: Option<Active>,
    done: Done,
    /// Something was resolved since the mark was written.
    unmarked: bool,
    /// What all segments take.
    bytes: u64,
    /// Held as long as the log lives.
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    numbers: Range<u64>,
    bytes: u64,
}

#[derive(Debug)]
struct Active {
    file: File,
    /// Something was written since the last flush.
    unsynced: bool,
}

/// What an earlier producer left: the records that were not resolved, in their order, read from disk
/// one segment after another.
#[derive(Debug)]
pub(crate) struct Recovered {
    directory: PathBuf,
    segments: VecDeque<Range<u64>>,
    done: Done,
    /// What was damaged, and cut off.
    pub(crate) damage: Vec<SpoolDamage>,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    move |source| {
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => SpoolError::Full { path, source },
            _ => SpoolError::Failed { path, source },
        }
    }
}

fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

impl Log {
    /// Opens a directory, or makes it; cuts what a crash left torn at its end.
    pub(crate) fn open(
        options: SpoolOptions,
        stream: &str,
    ) -> Result<(Self, Recovered), SpoolError> {
        let directory = options.directory.clone();
        fs::create_dir_all(&directory).map_err(failed(&directory))?;
        let lock = lock(&directory)?;
        let done = read_mark(&directory)?;
        let mut segments = VecDeque::new();
        let mut damage = Vec::new();
        let mut bytes = 0;
        let firsts = segment_numbers(&directory)?;
        for (n, first) in firsts.iter().enumerate() {
            let next = firsts.get(n + 1).copied();
            let path = segment_path(&directory, *first);
            let found = Found::read(&path)?;
            if let Some(head) = &found.head
                && head.stream != stream
            {
                return Err(SpoolError::OtherStream {
                    path: directory,
                    found: head.stream.clone(),
                    wanted: stream.to_owned(),
                });
            }
            if let Some(torn) = found.torn(&path) {
                tracing::warn!(
                    path = %path.display(), offset = torn.offset, bytes = torn.bytes,
                    "the end of a spool's file is not whole, and is cut off"
                );
                cut(&path, torn.offset)?;
                damage.push(torn);
            }
            // What lies between this file's last record and the next file's first is lost, or was
            // never acknowledged; it must not hold the file back.
            let end = next
                .unwrap_or(first + found.records)
                .max(first + found.records);
            let numbers = *first..end;
            if found.records == 0 {
                fs::remove_file(&path).map_err(failed(&path))?;
                continue;
            }
            bytes += found.whole;
            segments.push_back(Segment {
                numbers,
                bytes: found.whole,
            });
        }
        let recovered = Recovered {
            segments: segments
                .iter()
                .map(|segment| segment.numbers.clone())
                .collect(),
            directory: directory.clone(),
            done: done.clone(),
            damage,
        };
        let mut log = Self {
            options,
            stream: stream.to_owned(),
            segments,
            active: None,
            done,
            unmarked: false,
            bytes,
            _lock: lock,
        };
        log.reclaim()?;
        Ok((log, recovered))
    }

    /// Whether so many more bytes may be written. What is larger than the bound may go alone.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.options.max_bytes
    }

    /// Writes so many records, given in the format of a segment; gives the first one's number. When it
    /// fails nothing is taken.
    pub(crate) fn append(&mut self, records: &[u8], count: u64) -> Result<u64, SpoolError> {
        match self.write(records, count) {
            Err(SpoolError::Full { .. }) if self.make_room() => self.write(records, count),
            outcome => outcome,
        }
    }

    /// Removes what is resolved from a full disk without a mark, which would take room itself: after a
    /// crash nothing of it is there to be sent again. True if anything went.
    fn make_room(&mut self) -> bool {
        let before = self.bytes;
        if self.is_done() {
            self.active = None;
        }
        self.reclaim().is_ok() && self.bytes < before
    }

    /// Whether all records of the last segment are resolved.
    fn is_done(&self) -> bool {
        let last = self.segments.back();
        last.is_some_and(|last| self.done.contains(&last.numbers))
    }

    fn write(&mut self, records: &[u8], count: u64) -> Result<u64, SpoolError> {
        let full = self.segments.back().is_some_and(|last| {
            last.bytes.saturating_add(length(records)) > self.options.segment_bytes()
        });
        if full {
            self.finish_segment()?;
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let (Some(active), Some(last)) = (&mut self.active, self.segments.back_mut()) else {
            return Err(SpoolError::Closed);
        };
        let path = segment_path(&self.options.directory, last.numbers.start);
        if let Err(error) = active.file.write_all(records) {
            // What was written of it is no record: it goes, or no more is written behind it. The next
            // one begins where it began: a gap would be the end for whoever reads the file.
            let end = last.bytes;
            let taken_back = active.file.set_len(end);
            let taken_back = taken_back.and_then(|()| active.file.seek(SeekFrom::Start(end)));
            if taken_back.is_err() {
                self.active = None;
            }
            return Err(failed(&path)(error));
        }
        active.unsynced = true;
        last.bytes += length(records);
        self.bytes += length(records);
        let first = last.numbers.end;
        last.numbers.end += count;
        Ok(first)
    }

    /// Flushes what was written to the disk itself.
    pub(crate) fn sync(&mut self) -> Result<(), SpoolError> {
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced) else {
            return Ok(());
        };
        let synced = active.file.sync_data();
        active.unsynced = false;
        synced.map_err(|error| {
            let first = self
                .segments
                .back()
                .map_or(0, |segment| segment.numbers.start);
            // What the disk has of this file is not known any more: nothing is added to it.
            self.active = None;
            failed(&segment_path(&self.options.directory, first))(error)
        })
    }

    /// These records need not be sent again.
    pub(crate) fn resolve(&mut self, numbers: Range<u64>) {
        self.done.add(numbers);
        self.unmarked = true;
    }

    /// Writes down which records are resolved, and removes what is no longer needed.
    pub(crate) fn mark(&mut self) -> Result<(), SpoolError> {
        if self.unmarked {
            let directory = self.options.directory.clone();
            let (new, mark) = (directory.join(NEW_MARK), segment::mark(&self.done));
            let sync = self.options.sync != SpoolSync::Never;
            let write = || {
                let mut file = File::create(&new)?;
                file.write_all(&mark)?;
                if sync {
                    file.sync_data()?;
                }
                fs::rename(&new, directory.join(MARK))
            };
            match write().map_err(failed(&new)) {
                Err(SpoolError::Full { .. }) if self.make_room() => {
                    write().map_err(failed(&new))?
                }
                written => written?,
            }
            self.sync_directory()?;
            self.unmarked = false;
        }
        self.reclaim()
    }

    pub(crate) const fn is_unmarked(&self) -> bool {
        self.unmarked
    }

    pub(crate) fn is_unsynced(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.unsynced)
    }

    /// What the records take on disk.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes the segments all of whose records are resolved. The one that grows is ended for it.
    pub(crate) fn reclaim(&mut self) -> Result<(), SpoolError> {
        if self.is_done() && self.active.is_some() && !self.has_room(self.options.segment_bytes()) {
            self.active = None;
        }
        let growing = usize::from(self.active.is_some());
        let mut at = 0;
        while let Some(segment) = self.segments.get(at)
            && at + growing < self.segments.len()
        {
            if !self.done.contains(&segment.numbers) {
                at += 1;
                continue;
            }
            let path = segment_path(&self.options.directory, segment.numbers.start);
            let removed = segment.bytes;
            fs::remove_file(&path).map_err(failed(&path))?;
            self.segments.remove(at);
            self.bytes -= removed;
        }
        Ok(())
    }

    fn finish_segment(&mut self) -> Result<(), SpoolError> {
        if self.options.sync != SpoolSync::Never {
            self.sync()?;
        }
        self.active = None;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), SpoolError> {
        // One that stayed empty has the same name: it makes place.
        if let Some(empty) = self.segments.pop_back_if(|last| last.numbers.is_empty()) {
            self.bytes -= empty.bytes;
        }
        let first = self
            .segments
            .back()
            .map_or(0, |last| last.numbers.end)
            .max(self.done.end());
        let head = Head {
            first,
            stream: self.stream.clone(),
        }
        .to_bytes();
        let path = segment_path(&self.options.directory, first);
        let create = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .create(true)
                .write(true)
                .truncate(true)
                .open(&path)?;
            file.write_all(&head)?;
            Ok(file)
        };
        let file = match create() {
            Ok(file) => file,
            Err(error) => {
                // Half a head is no segment. If it stays, it is cut off at the next start.
                drop(fs::remove_file(&path));
                return Err(failed(&path)(error));
            }
        };
        self.sync_directory()?;
        self.bytes += length(&head);
        self.segments.push_back(Segment {
            numbers: first..first,
            bytes: length(&head),
        });
        self.active = Some(Active {
            file,
            unsynced: true,
        });
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), SpoolError> {
        if self.options.sync == SpoolSync::Never {
            return Ok(());
        }
        let directory = &self.options.directory;
        File::open(directory)
            .and_then(|file| file.sync_all())
            .map_err(failed(directory))
    }
}

impl Recovered {
    /// Whether everything was resolved.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| self.done.contains(segment))
    }

    /// The records of the next segment that were not resolved, with their numbers; none when there are
    /// no more segments.
    pub(crate) fn next_segment(&mut self) -> Result<Option<Vec<(u64, Record)>>, SpoolError> {
        while let Some(numbers) = self.segments.pop_front() {
            if self.done.contains(&numbers) {
                continue;
            }
            let path = segment_path(&self.directory, numbers.start);
            let file = Bytes::from(fs::read(&path).map_err(failed(&path))?);
            let mut at = Head::read(&file).map_or(file.len(), |(_, length)| length);
            let records = segment::read_records(&file, &mut at);
            let left = (numbers.start..)
                .zip(records)
                .filter(|(number, _)| !self.done.contains(&(*number..number + 1)));
            return Ok(Some(left.collect()));
        }
        Ok(None)
    }
}

/// A segment's file as it was found.
struct Found {
    head: Option<Head>,
    records: u64,
    /// How many bytes of it are whole.
    whole: u64,
    bytes: u64,
}

impl Found {
    fn read(path: &Path) -> Result<Self, SpoolError> {
        let file = Bytes::from(fs::read(path).map_err(failed(path))?);
        let bytes = length(&file);
        let Some((head, mut at)) = Head::read(&file) else {
            return Ok(Self {
                head: None,
                records: 0,
                whole: 0,
                bytes,
            });
        };
        let records = segment::count_records(&file, &mut at);
        let whole = length(file.get(..at).unwrap_or_default());
        Ok(Self {
            head: Some(head),
            records,
            whole,
            bytes,
        })
    }

    fn torn(&self, path: &Path) -> Option<SpoolDamage> {
        let bytes = self.bytes - self.whole;
        (bytes > 0).then(|| SpoolDamage {
            path: path.to_owned(),
            offset: self.whole,
            bytes,
        })
    }
}

fn cut(path: &Path, length: u64) -> Result<(), SpoolError> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(failed(path))?;
    file.set_len(length)
        .and_then(|()| file.sync_all())
        .map_err(failed(path))
}

fn lock(directory: &Path) -> Result<File, SpoolError> {
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(failed(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse {
            path: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
    }
}

/// What was resolved. Without a mark, or with one that is not whole, nothing: everything is sent.
fn read_mark(directory: &Path) -> Result<Done, SpoolError> {
    let path = directory.join(MARK);
    let file = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Done::default()),
        file => file.map_err(failed(&path))?,
    };
    Ok(segment::read_mark(&file).unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "the spool's mark is damaged: its records are sent again");
        Done::default()
    }))
}

/// The numbers in the segments' names, ascending.
fn segment_numbers(directory: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let name = entry.map_err(failed(directory))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
