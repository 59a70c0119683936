//! A body in pieces as the blocks that SHA-256 takes, with its padding.

use super::Digest;
use bytes::Bytes;
use std::slice::{Iter, from_ref};

const BLOCK: usize = 64;

pub(super) type Block = [u8; BLOCK];

/// A body on its way.
pub(super) struct Input<'a> {
    pub(super) state: [u32; 8],
    /// Of the piece at hand.
    rest: &'a [u8],
    /// Pieces after it.
    pieces: Iter<'a, Bytes>,
    /// Of the whole, in bits.
    length: u64,
    /// A block that does not lie in one piece, if it is its turn.
    buffer: Block,
    buffered: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Data,
    /// The end is marked; the length did not fit behind it.
    Length,
    Finished,
}

impl<'a> Input<'a> {
    /// What a state starts with (FIPS 180-4, 5.3.3).
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    pub(super) fn new(pieces: &'a [Bytes]) -> Self {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let mut this = Self {
            state: Self::START,
            rest: &[],
            pieces: pieces.iter(),
            length: 8 * bytes as u64,
            buffer: [0; BLOCK],
            buffered: false,
            stage: Stage::Data,
        };
        this.prepare();
        this
    }

    /// The next blocks, as many as lie side by side; `None` after the last.
    pub(super) fn blocks(&self) -> Option<&[Block]> {
        if self.buffered {
            return Some(from_ref(&self.buffer));
        }
        let (blocks, _) = self.rest.as_chunks();
        (!blocks.is_empty()).then_some(blocks)
    }

    /// So many of [`Self::blocks`] were hashed, at least one, which gave this state.
    pub(super) fn took(&mut self, count: usize, state: [u32; 8]) {
        self.state = state;
        if !std::mem::take(&mut self.buffered) {
            self.rest = self.rest.get(count * BLOCK..).unwrap_or_default();
        }
        self.prepare();
    }

    /// Puts the next block together, if it lies in several pieces or is the end.
    fn prepare(&mut self) {
        if self.rest.len() >= BLOCK {
            return;
        }
        let mut filled = 0;
        match self.stage {
            Stage::Finished => return,
            Stage::Length => self.buffer = [0; BLOCK],
            Stage::Data => {
                while let Some(room) = self.buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
                    if self.rest.is_empty() {
                        match self.pieces.next() {
                            // A block's border: the piece is taken as it lies.
                            Some(piece) if filled == 0 && piece.len() >= BLOCK => {
                                self.rest = piece;
                                return;
                            }
                            Some(piece) => self.rest = piece,
                            None => break,
                        }
                    }
                    let (taken, rest) = self.rest.split_at(self.rest.len().min(room.len()));
                    room.iter_mut()
                        .zip(taken)
                        .for_each(|(to, from)| *to = *from);
                    filled += taken.len();
                    self.rest = rest;
                }
                self.buffered = true;
                let Some((mark, padding)) = self
                    .buffer
                    .get_mut(filled..)
                    .and_then(<[u8]>::split_first_mut)
                else {
                    return;
                };
                *mark = 0x80;
                padding.fill(0);
                if padding.len() < 8 {
                    self.stage = Stage::Length;
                    return;
                }
            }
        }
        self.buffered = true;
        self.stage = Stage::Finished;
        if let Some(length) = self.buffer.last_chunk_mut() {
            *length = self.length.to_be_bytes();
        }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }
}
