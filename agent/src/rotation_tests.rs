use super::*;
use Decision::{Continues, Copied, Created, Elsewhere, Renamed, Truncated, Vanished};

fn place(inode: u64) -> Place {
    Place {
        device: 1,
        inode,
        born: None,
    }
}

/// A generation that has read `offset` bytes of `content`.
fn known(id: u64, path: &str, inode: u64, content: &str, offset: u64) -> Known {
    Known {
        id,
        path: path.into(),
        place: place(inode),
        head: Head::of(content.as_bytes()),
        offset,
        size: content.len() as u64,
        fresh: offset == 0,
        held: None,
        gone: false,
    }
}

fn seen(path: &str, inode: u64, content: &str) -> Seen {
    Seen {
        path: path.into(),
        place: place(inode),
        size: content.len() as u64,
        modified: 0,
        matches: true,
        readable: true,
        head: Some(
            content
                .as_bytes()
                .iter()
                .copied()
                .take(HEAD_BYTES)
                .collect(),
        ),
    }
}

fn outside(mut file: Seen) -> Seen {
    file.matches = false;
    file
}

fn later(mut file: Seen) -> Seen {
    file.modified += 1;
    file
}

fn unread(mut file: Seen) -> Seen {
    file.head = None;
    file
}

fn held(mut k: Known, by: Generation) -> Known {
    k.held = Some(by);
    k
}

fn gone(mut k: Known) -> Known {
    k.gone = true;
    k
}

const A: &str = "aaaa\nbbbb\ncccc\n";
const B: &str = "dddd\neeee\n";
const C: &str = "ffff\n";

type Case = (&'static str, Vec<Known>, Vec<Seen>, Vec<Decision>);

#[test]
fn every_way_to_rotate_is_recognised() {
    let long = "x".repeat(3000);
    let cases: Vec<Case> = vec![
        (
            "nothing changed",
            vec![known(1, "app", 1, A, 15)],
            vec![seen("app", 1, A)],
            vec![Continues { id: 1, seen: 0 }],
        ),
        (
            "grown, the head not read",
            vec![known(1, "app", 1, A, 15)],
            vec![unread(seen("app", 1, "aaaa\nbbbb\ncccc\nmore\n"))],
            vec![Continues { id: 1, seen: 0 }],
        ),
        (
            "rename and create, the glob covers the rotated name",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 2, B), seen("app.1", 1, A)],
            vec![Renamed { id: 1, seen: 1 }, Created { seen: 0 }],
        ),
        (
            "several renames between two scans",
            vec![known(1, "app", 1, A, 5), known(2, "app.1", 2, B, 10)],
            vec![
                seen("app", 4, "x\n"),
                seen("app.1", 3, C),
                seen("app.2", 1, A),
                seen("app.3", 2, B),
            ],
            vec![
                Renamed { id: 1, seen: 2 },
                Renamed { id: 2, seen: 3 },
                Created { seen: 0 },
                Created { seen: 1 },
            ],
        ),
        (
            "rename and create, the glob is the exact name: the rotated file is followed by its inode",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 2, B), outside(seen("app.1", 1, A))],
            vec![Renamed { id: 1, seen: 1 }, Created { seen: 0 }],
        ),
        (
            "create with time-stamped names",
            vec![known(1, "app-1", 1, A, 15)],
            vec![seen("app-1", 1, A), seen("app-2", 2, B)],
            vec![Continues { id: 1, seen: 0 }, Created { seen: 1 }],
        ),
        (
            "copytruncate, the scan falls after both steps",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 1, B), seen("app.1", 2, A)],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "copytruncate, refilled past the old size",
            vec![known(1, "app", 1, C, 5)],
            vec![seen("app", 1, A), seen("app.1", 2, C)],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "copytruncate, between copy and truncate: the held copy stays, the original goes on",
            vec![
                known(1, "app", 1, A, 5),
                held(known(2, "app.1", 2, A, 0), 1),
            ],
            vec![seen("app", 1, A), seen("app.1", 2, A)],
            vec![Continues { id: 1, seen: 0 }, Continues { id: 2, seen: 1 }],
        ),
        (
            "copytruncate, the held copy is found: its generation is absorbed",
            vec![
                known(1, "app", 1, A, 5),
                held(known(2, "app.1", 2, A, 0), 1),
            ],
            vec![seen("app", 1, ""), seen("app.1", 2, A)],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "copytruncate, the copy not held yet",
            vec![known(1, "app", 1, A, 5), known(2, "app.1", 2, A, 0)],
            vec![seen("app", 1, C), seen("app.1", 2, A)],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "copytruncate, the copy outside of the glob",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 1, B), outside(seen("app.1", 2, A))],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "copytruncate twice between scans: the second copy is a new file",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 1, C), seen("app.1", 3, B), seen("app.2", 2, A)],
            vec![
                Copied { id: 1, copy: 2 },
                Created { seen: 0 },
                Created { seen: 1 },
            ],
        ),
        (
            "copytruncate, an older copy with the same head is tailed already and is not taken",
            vec![known(1, "app", 1, A, 15), known(2, "app.2", 3, A, 15)],
            vec![
                seen("app", 1, C),
                seen("app.1", 2, A),
                later(seen("app.2", 3, A)),
            ],
            vec![
                Copied { id: 1, copy: 1 },
                Continues { id: 2, seen: 2 },
                Created { seen: 0 },
            ],
        ),
        (
            "truncated without a copy: what was seen and not read is counted",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 1, "")],
            vec![Truncated { id: 1, unread: 10 }, Created { seen: 0 }],
        ),
        (
            "truncated and refilled past the old offset: the head tells",
            vec![known(1, "app", 1, C, 5)],
            vec![seen("app", 1, A)],
            vec![Truncated { id: 1, unread: 0 }, Created { seen: 0 }],
        ),
        (
            "a short head is weak: a shorter file with it is not the copy",
            vec![known(1, "app", 1, A, 15).with_head("aaaa\n")],
            vec![seen("app", 1, ""), seen("new", 2, "aaaa\n")],
            vec![
                Truncated { id: 1, unread: 0 },
                Created { seen: 0 },
                Created { seen: 1 },
            ],
        ),
        (
            "a whole head is strong: the copy may be shorter than what was read",
            vec![known(1, "app", 1, &long, 3000)],
            vec![seen("app", 1, ""), seen("app.1", 2, &long[..2000])],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "an empty file has no head to find a copy by",
            vec![
                Known {
                    size: 5,
                    fresh: false,
                    ..known(1, "app", 1, "", 0)
                }
                .with_offset(3),
            ],
            vec![seen("app", 1, ""), seen("new", 2, C)],
            vec![
                Truncated { id: 1, unread: 2 },
                Created { seen: 0 },
                Created { seen: 1 },
            ],
        ),
        (
            "late write into the rotated file",
            vec![known(1, "app.1", 1, A, 15), known(2, "app", 2, B, 10)],
            vec![
                seen("app", 2, B),
                seen("app.1", 1, "aaaa\nbbbb\ncccc\nlate\n"),
            ],
            vec![Continues { id: 1, seen: 1 }, Continues { id: 2, seen: 0 }],
        ),
        (
            "rotated, then compressed while behind: the descriptor is read to its end",
            vec![known(1, "app", 1, A, 5)],
            vec![seen("app", 2, B)],
            vec![Vanished { id: 1 }, Created { seen: 0 }],
        ),
        (
            "copied without truncation: original and copy both stay",
            vec![known(1, "app", 1, A, 15)],
            vec![seen("app", 1, A), seen("copy", 2, A)],
            vec![Continues { id: 1, seen: 0 }, Created { seen: 1 }],
        ),
        (
            "copied, then the original removed: it lives on in the copy",
            vec![known(1, "app", 1, A, 5), held(known(2, "copy", 2, A, 0), 1)],
            vec![seen("copy", 2, A)],
            vec![Copied { id: 1, copy: 0 }],
        ),
        (
            "deleted and made anew with the same beginning: the new one is read whole",
            vec![known(1, "app", 1, A, 15)],
            vec![seen("app", 2, "aaaa\nbbbb\ncccc\nmore\n")],
            vec![Vanished { id: 1 }, Created { seen: 0 }],
        ),
        (
            "deleted, others remain",
            vec![known(1, "app", 1, A, 5), known(2, "b", 2, B, 5)],
            vec![seen("b", 2, B)],
            vec![Vanished { id: 1 }, Continues { id: 2, seen: 0 }],
        ),
        (
            "inode given to a new file",
            vec![known(1, "app", 1, A, 15)],
            vec![seen("app", 1, B)],
            vec![Truncated { id: 1, unread: 0 }, Created { seen: 0 }],
        ),
        (
            "a symlink that was retargeted",
            vec![known(1, "link", 1, A, 15)],
            vec![seen("link", 7, B)],
            vec![Vanished { id: 1 }, Created { seen: 0 }],
        ),
        (
            "a file that was gone is back where it was read to",
            vec![gone(known(1, "app", 1, A, 15))],
            vec![seen("app", 1, A)],
            vec![Continues { id: 1, seen: 0 }],
        ),
        (
            "another file has the inode of one that is gone",
            vec![gone(known(1, "app", 1, A, 15))],
            vec![seen("app", 1, B)],
            vec![Created { seen: 0 }],
        ),
        (
            "a gone file that stays away is nothing to decide",
            vec![gone(known(1, "app", 1, A, 15))],
            vec![],
            vec![],
        ),
        (
            "a fresh file that was replaced before it was read",
            vec![known(1, "app", 1, A, 0)],
            vec![seen("app", 1, B)],
            vec![Truncated { id: 1, unread: 15 }, Created { seen: 0 }],
        ),
        (
            "copied and truncated before anything was read",
            vec![known(1, "app", 1, A, 0)],
            vec![seen("app", 1, C), seen("app.1", 2, A)],
            vec![Copied { id: 1, copy: 1 }, Created { seen: 0 }],
        ),
        (
            "copied and truncated before anything was read, and the copy is read already",
            vec![known(1, "app", 1, A, 0), known(2, "app.1", 2, A, 10)],
            vec![seen("app", 1, C), seen("app.1", 2, A)],
            vec![
                Elsewhere { id: 1 },
                Continues { id: 2, seen: 1 },
                Created { seen: 0 },
            ],
        ),
        (
            "files outside of the glob are no one's concern",
            vec![],
            vec![outside(seen("x", 1, A)), seen("y", 2, B)],
            vec![Created { seen: 1 }],
        ),
    ];
    for (name, known, seen, expected) in cases {
        assert_eq!(decide(&known, &seen), expected, "{name}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_begun_and_not_given_up() {
    let mut closed = unread(seen("app", 1, A));
    closed.readable = false;
    assert_eq!(decide(&[], std::slice::from_ref(&closed)), []);
    assert_eq!(
        decide(&[known(1, "app", 1, A, 5)], &[closed]),
        [Continues { id: 1, seen: 0 }]
    );
}

impl Known {
    fn with_head(mut self, head: &str) -> Self {
        self.head = Head::of(head.as_bytes());
        self
    }

    fn with_offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }
}
