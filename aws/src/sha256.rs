//! SHA-256 of bodies that lie in pieces. One is hashed by `ring`. Two are hashed side by side where the CPU
//! has instructions for it: its steps wait for each other, and those of another body fill the gaps.

#[cfg(target_arch = "x86_64")]
mod x86;

use bytes::Bytes;
use std::slice::{Iter, from_ref};

pub(crate) type Digest = [u8; 32];

const BLOCK: usize = 64;

type Block = [u8; BLOCK];

/// The SHA-256 of the pieces, one behind the other.
pub(crate) fn of_one(pieces: &[Bytes]) -> Digest {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    pieces.iter().for_each(|piece| hash.update(piece));
    let digest = hash.finish();
    // It has 32 bytes.
    digest.as_ref().try_into().unwrap_or_default()
}

/// Whether two are quicker together than apart.
pub(crate) fn pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    let pairs = x86::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    let pairs = false;
    pairs
}

/// The same as [`of_one`], of two.
pub(crate) fn of_two(inputs: [&[Bytes]; 2]) -> [Digest; 2] {
    #[cfg(target_arch = "x86_64")]
    if pairs() {
        let [mut one, mut other] = inputs.map(Input::new);
        while let (Some(blocks), Some(others)) = (one.blocks(), other.blocks()) {
            let count = blocks.len().min(others.len());
            let blocks = [blocks, others].map(|blocks| blocks.get(..count).unwrap_or_default());
            let [state, other_state] = x86::compress([one.state, other.state], blocks);
            one.took(count, state);
            other.took(count, other_state);
        }
        return [one, other].map(|mut longer| {
            while let Some(blocks) = longer.blocks() {
                let count = blocks.len();
                let [state] = x86::compress([longer.state], [blocks]);
                longer.took(count, state);
            }
            longer.digest()
        });
    }
    inputs.map(of_one)
}

/// A body on its way.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for pairs"))]
struct Input<'a> {
    state: [u32; 8],
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

#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for pairs"))]
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

    fn new(pieces: &'a [Bytes]) -> Self {
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
    fn blocks(&self) -> Option<&[Block]> {
        if self.buffered {
            return Some(from_ref(&self.buffer));
        }
        let (blocks, _) = self.rest.as_chunks();
        (!blocks.is_empty()).then_some(blocks)
    }

    /// So many of [`Self::blocks`] were hashed, at least one, which gave this state.
    fn took(&mut self, count: usize, state: [u32; 8]) {
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

    fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of this length, in pieces of these lengths over and over.
    fn pieces(length: usize, of: &[usize]) -> Vec<Bytes> {
        let mut rest: Bytes = (0..=u8::MAX)
            .cycle()
            .map(|n| n.wrapping_mul(7))
            .take(length)
            .collect();
        let mut pieces = Vec::new();
        for size in of.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push(rest.split_to((*size).min(rest.len())));
        }
        pieces
    }

    fn apart(inputs: [&[Bytes]; 2]) -> [Digest; 2] {
        inputs.map(of_one)
    }

    #[test]
    fn the_empty_input_and_the_standard_s_example() {
        let abc = [Bytes::from_static(b"abc")];
        let hex = of_two([&[], &abc]).map(|digest| crate::sign::hex(&digest));
        assert_eq!(
            hex,
            [
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ]
        );
    }

    #[test]
    fn two_together_have_the_hashes_of_each_alone() {
        let layouts: [&[usize]; 6] = [&[usize::MAX], &[1], &[63], &[64], &[65, 1, 200], &[3, 128]];
        // Around the ends of blocks, of all sorts.
        let lengths = (0..=200).chain([1_000, 4_095, 4_096, 4_097]);
        for length in lengths {
            for (n, layout) in layouts.iter().enumerate() {
                let one = pieces(length, layout);
                for other_length in [0, 55, 56, 64, 119, 120, length, 3 * length + 1] {
                    let other = pieces(other_length, layouts[(n + 1) % layouts.len()]);
                    for inputs in [[&*one, &*other], [&*other, &*one]] {
                        assert_eq!(of_two(inputs), apart(inputs), "{length} {other_length} {n}");
                    }
                }
            }
        }
    }
}
