//! The first look of a flow: where each file is begun.

use super::tracked::Tracked;
use super::{Aborted, Flow};
use crate::config::InitialPosition;
use crate::positions::OriginalRow;
use crate::scan::{Scan, Seen};
use crate::tail;
use std::cmp::Reverse;

/// Where a file is begun at the first start of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At this byte.
    At(u64),
    /// After its last newline.
    End,
}

/// Decides where each file is begun at the first start: the newest by `initialPosition`, older ones at
/// their end, as the original does; all by the original's position where there is one. Only files that
/// fit the pattern and can be read are decided; the order is the scan's.
pub(super) fn starts(
    files: &[Seen],
    initial: InitialPosition,
    original: Option<&OriginalRow>,
) -> Vec<(usize, Start)> {
    let fitting = || {
        files
            .iter()
            .enumerate()
            .filter(|(_, file)| file.matches && file.readable)
    };
    // Newest first is: written later, else the smaller one, else the first name.
    let newest = fitting()
        .min_by_key(|(_, file)| (Reverse(file.modified), file.size, file.path.clone()))
        .map(|(n, _)| n);
    fitting()
        .map(|(n, file)| {
            let start = match original {
                Some(row) => by_original(file, row),
                None if Some(n) == newest && initial == InitialPosition::StartOfFile => {
                    Start::At(0)
                }
                None => Start::End,
            };
            (n, start)
        })
        .collect()
}

/// The file that the original was reading goes on where it was; if it was truncated since, from its
/// start. Files written after the original last looked are new; older ones were read or left out.
fn by_original(file: &Seen, row: &OriginalRow) -> Start {
    let same = match row.file_id {
        Some(id) => file.place.key() == id,
        None => file.path == row.path,
    };
    match same {
        true if file.size >= row.offset => Start::At(row.offset),
        true => Start::At(0),
        false if file.modified > row.modified => Start::At(0),
        false => Start::End,
    }
}

impl Flow {
    /// Restores what is stored, or begins the flow. A flow is begun once: files that appear later are
    /// read from their start.
    pub(super) async fn begin(&mut self) -> Result<(), Aborted> {
        let stored = std::mem::take(&mut self.parts.stored);
        if stored.begun {
            for row in stored.rows {
                self.next = self.next.max(row.id + 1);
                self.files.insert(row.id, Tracked::restored(row));
            }
            return Ok(());
        }
        let scan = loop {
            if self.parts.stop.is_cancelled() {
                return Ok(());
            }
            match self.list(false).await? {
                Ok(scan) => break scan,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.tell_waiting();
                    break Scan::default();
                }
                Err(error) => {
                    self.tell_unlisted(&error);
                    self.pause(self.parts.config.rescan.max(self.parts.config.poll))
                        .await?;
                }
            }
        };
        let mut begun = starts(
            &scan.files,
            self.parts.config.initial,
            stored.original.as_ref(),
        );
        // Older content goes first.
        begun.sort_by_key(|(n, _)| scan.files.get(*n).map(|seen| seen.modified));
        let mut passed_over = 0u64;
        for (n, start) in begun {
            let Some(seen) = scan.files.get(n) else {
                continue;
            };
            let position = match start {
                Start::At(position) => position,
                Start::End => match self.end_of(seen).await? {
                    Some(end) => {
                        passed_over += end;
                        end
                    }
                    None => continue,
                },
            };
            let id = self.take_id();
            self.files.insert(id, Tracked::new(id, seen, position));
        }
        if passed_over > 0 || stored.original.is_some() {
            tracing::info!(
                flow = self.id,
                passed_over_bytes = passed_over,
                taken_over = stored.original.is_some(),
                "first start: files are begun by initialPosition, or where the original agent was"
            );
        }
        self.tell_skipped(scan.skipped);
        self.save_first().await?;
        Ok(())
    }

    async fn end_of(&mut self, seen: &Seen) -> Result<Option<u64>, Aborted> {
        let (path, place) = (seen.path.clone(), seen.place);
        let end = self
            .blocking(move || match tail::open(&path, &place)? {
                Some(file) => tail::end_position(&file).map(Some),
                None => Ok(None),
            })
            .await?;
        Ok(end.unwrap_or_else(|error| {
            self.tell_unreadable(&seen.path, &error);
            None
        }))
    }

    pub(super) fn take_id(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Place;

    fn seen(name: &str, inode: u64, modified: i64, size: u64) -> Seen {
        Seen {
            path: name.into(),
            place: Place {
                device: 1,
                inode,
                born: None,
            },
            size,
            modified,
            matches: true,
            readable: true,
            head: None,
        }
    }

    #[test]
    fn the_newest_file_begins_by_initial_position_and_older_ones_at_their_end() {
        let files = [
            seen("a", 1, 5, 10),
            seen("b", 2, 9, 20),
            seen("c", 3, 9, 10),
            seen("d", 4, 9, 10),
        ];
        let begun = starts(&files, InitialPosition::StartOfFile, None);
        assert_eq!(
            begun,
            [
                (0, Start::End),
                (1, Start::End),
                (2, Start::At(0)),
                (3, Start::End)
            ]
        );
        let begun = starts(&files, InitialPosition::EndOfFile, None);
        assert!(begun.iter().all(|(_, start)| *start == Start::End));
        assert_eq!(starts(&[], InitialPosition::StartOfFile, None), []);
    }

    #[test]
    fn files_outside_of_the_pattern_or_unreadable_are_not_begun() {
        let mut files = [seen("a", 1, 5, 10), seen("b", 2, 9, 20), seen("c", 3, 1, 1)];
        files[1].matches = false;
        files[2].readable = false;
        assert_eq!(
            starts(&files, InitialPosition::StartOfFile, None),
            [(0, Start::At(0))]
        );
    }

    #[test]
    fn the_originals_position_decides_where_there_is_one() {
        let row = OriginalRow {
            path: "app".into(),
            file_id: Some((1, 1)),
            modified: 5,
            offset: 10,
        };
        // name, inode, modified, size, expected
        let cases = [
            (seen("app", 1, 5, 10), Start::At(10)),
            (seen("app", 1, 9, 50), Start::At(10)),
            (seen("app.1", 1, 5, 50), Start::At(10)),
            (seen("app", 1, 9, 9), Start::At(0)),
            (seen("app", 2, 9, 50), Start::At(0)),
            (seen("app.7", 7, 4, 50), Start::End),
        ];
        for (file, expected) in cases {
            let begun = starts(
                std::slice::from_ref(&file),
                InitialPosition::EndOfFile,
                Some(&row),
            );
            assert_eq!(begun, [(0, expected)], "{file:?}");
        }
        let by_path = OriginalRow {
            file_id: None,
            ..row
        };
        let begun = starts(
            &[seen("app", 9, 1, 50)],
            InitialPosition::EndOfFile,
            Some(&by_path),
        );
        assert_eq!(begun, [(0, Start::At(10))]);
    }
}
