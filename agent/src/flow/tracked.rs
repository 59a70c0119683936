//! What a flow knows of one generation.

use crate::acks::Acks;
use crate::identity::{Head, Place};
use crate::positions::Row;
use crate::rotation::{Generation, Known};
use crate::scan::{Seen, Sight};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// A new file that repeats the start of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    /// Whose start it repeats.
    pub(super) of: Generation,
    /// Its size when that was found.
    pub(super) size: u64,
    /// When it last changed.
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) id: Generation,
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) head: Head,
    /// The end of what was sent is the end of what was read: bytes after the last newline are read
    /// again when there are more.
    pub(super) acks: Acks,
    /// Its size when it was last looked at; perhaps another content's, until that is read.
    pub(super) size: u64,
    /// So much of it is known to have been its own.
    pub(super) own: u64,
    pub(super) modified: i64,
    pub(super) file: Option<Arc<File>>,
    /// Nothing of it was read: it may be a copy of another.
    pub(super) fresh: bool,
    pub(super) hold: Option<Hold>,
    /// It left its first name: what has no newline yet will hardly get one.
    pub(super) moved: bool,
    /// The directory has it no more; its descriptor is read to the end.
    pub(super) vanished: bool,
    /// When it was given up, in milliseconds since the Unix epoch.
    pub(super) gone: Option<u64>,
    /// When it was last seen to grow, or to move.
    pub(super) grown: Instant,
    /// At this size, no newline was found after what was read.
    pub(super) stalled: Option<u64>,
    /// The next line is longer than a block: read more at once.
    pub(super) long: bool,
    /// The next line is longer than a record: its newline is not before this.
    pub(super) searched: Option<u64>,
    /// The copy that it lives on in ends here, before what was read.
    pub(super) limit: Option<u64>,
    pub(super) saved: Option<Row>,
}

impl Tracked {
    pub(super) fn new(id: Generation, seen: &Seen, position: u64) -> Self {
        Self {
            id,
            path: seen.path.clone(),
            place: seen.place,
            head: seen.head.as_deref().map_or_else(Head::empty, Head::of),
            acks: Acks::starting_at(position),
            size: seen.size,
            own: seen.size,
            modified: seen.modified,
            file: None,
            fresh: position == 0,
            hold: None,
            moved: false,
            vanished: false,
            gone: None,
            grown: Instant::now(),
            stalled: None,
            long: false,
            searched: None,
            limit: None,
            saved: None,
        }
    }

    pub(super) fn restored(row: Row) -> Self {
        Self {
            id: row.id,
            path: row.path.clone(),
            place: row.place,
            head: row.head,
            acks: Acks::starting_at(row.position),
            size: row.size,
            own: row.size,
            // Unlike any file's, so that the head is read by the first listing.
            modified: i64::MIN,
            file: None,
            fresh: row.position == 0,
            hold: None,
            moved: false,
            vanished: false,
            gone: row.gone,
            grown: Instant::now(),
            stalled: None,
            long: false,
            searched: None,
            limit: None,
            saved: Some(row),
        }
    }

    /// The end of what was read.
    pub(super) fn offset(&self) -> u64 {
        self.acks.sent()
    }

    /// All before this is delivered, and is still there.
    pub(super) fn position(&self) -> u64 {
        let position = self.acks.position();
        self.limit.map_or(position, |limit| position.min(limit))
    }

    pub(super) fn behind(&self) -> u64 {
        if self.gone.is_some() || self.hold.is_some() {
            0
        } else {
            self.size.max(self.offset()).saturating_sub(self.position())
        }
    }

    pub(super) fn known(&self) -> Known {
        Known {
            id: self.id,
            path: self.path.clone(),
            place: self.place,
            head: self.head,
            offset: self
                .limit
                .map_or(self.offset(), |limit| limit.min(self.offset())),
            size: self.own,
            fresh: self.fresh,
            held: self.hold.map(|hold| hold.of),
            gone: self.gone.is_some(),
        }
    }

    pub(super) fn sight(&self) -> Sight {
        Sight {
            size: self.size,
            modified: self.modified,
        }
    }

    fn row(&self) -> Row {
        Row {
            id: self.id,
            path: self.path.clone(),
            place: self.place,
            head: self.head,
            position: self.position(),
            size: self.own,
            gone: self.gone,
        }
    }

    /// Its row, if that differs from what is stored in more than the size.
    pub(super) fn unsaved(&self) -> Option<Row> {
        let row = self.row();
        let same = self.saved.as_ref().is_some_and(|saved| {
            *saved
                == Row {
                    size: saved.size,
                    ..row.clone()
                }
        });
        (!same).then_some(row)
    }

    /// Takes over where it is now.
    pub(super) fn found_at(&mut self, seen: &Seen) {
        if seen.size > self.size {
            self.grown = Instant::now();
        }
        self.path.clone_from(&seen.path);
        self.place = seen.place;
        self.size = seen.size;
        self.own = seen.size;
        if let Some(start) = seen
            .head
            .as_deref()
            .filter(|start| start.len() > self.head.len)
        {
            self.head = Head::of(start);
        }
        self.modified = seen.modified;
        self.vanished = false;
        self.gone = None;
    }
}
