//! MD5 of many inputs side by side, whatever the machine's registers: which input is in which lane,
//! and the sixty-four steps of RFC 1321.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are constants, or bounded by a block's 64 bytes; tests run every length"
)]

use super::SHORT;

const BLOCK: usize = 64;

/// What a state starts with.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// `floor(2^32 × |sin(i + 1)|)`, as RFC 1321 lists them.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// One 32-bit word of each of `W` inputs. Methods have to be inlined into a function that has the
/// CPU's feature switched on.
pub(super) trait Lanes<const W: usize>: Copy {
    fn load(words: &[u32; W]) -> Self;
    fn store(self) -> [u32; W];
    fn splat(word: u32) -> Self;
    fn add(self, other: Self) -> Self;
    /// Bit by bit: where `self` is set that of `then`, else that of `otherwise`.
    fn choose(self, then: Self, otherwise: Self) -> Self;
    fn xor(self, second: Self, third: Self) -> Self;
    /// `c ^ (self | !d)`, the function of the last sixteen steps.
    fn last(self, c: Self, d: Self) -> Self;
    /// `LEFT + RIGHT` is 32.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    /// The sixteen little-endian words of each block: the n-th words of all together.
    fn words(blocks: &[&[u8; BLOCK]; W]) -> [Self; 16];
}

/// The digest of each input, given as pieces that are not joined, in the order of the inputs.
#[inline(always)]
pub(super) fn digests<'a, L: Lanes<W>, const W: usize>(
    mut inputs: impl Iterator<Item = &'a [&'a [u8]]>,
    out: &mut Vec<[u8; 16]>,
) {
    let mut lanes = [const { Lane::idle() }; W];
    let mut states = [[0; W]; 4];
    let mut buffers = [[0; BLOCK]; W];
    let mut busy = 0;
    let mut more = true;
    loop {
        if more {
            for (n, lane) in lanes
                .iter_mut()
                .enumerate()
                .filter(|(_, lane)| lane.is_idle())
            {
                let Some(pieces) = inputs.next() else {
                    more = false;
                    break;
                };
                *lane = Lane::new(pieces, out.len());
                out.push([0; 16]);
                for (state, start) in states.iter_mut().zip(START) {
                    state[n] = start;
                }
                busy += 1;
            }
        }
        if busy == 0 {
            return;
        }
        let mut state = states.each_ref().map(L::load);
        // As long as every busy lane is inside a piece there is nothing to decide.
        for _ in 0..whole_blocks(&lanes) {
            let mut blocks = [&[0; BLOCK]; W];
            for (block, lane) in blocks.iter_mut().zip(&mut lanes) {
                *block = lane.inside().unwrap_or(&[0; BLOCK]);
            }
            state = block_of_each(state, &L::words(&blocks));
        }
        let mut blocks = [&[0; BLOCK]; W];
        for ((block, lane), buffer) in blocks.iter_mut().zip(&mut lanes).zip(&mut buffers) {
            *block = lane.next(buffer);
        }
        state = block_of_each(state, &L::words(&blocks));
        states = state.map(L::store);
        for (n, lane) in lanes.iter_mut().enumerate() {
            if let Some(input) = lane.finished() {
                for (bytes, word) in out[input].chunks_exact_mut(4).zip(&states) {
                    bytes.copy_from_slice(&word[n].to_le_bytes());
                }
                busy -= 1;
            }
        }
    }
}

/// As [`digests`], for inputs that fit one block with their padding, as keys do: each takes one step, and
/// none has to be followed through its pieces.
#[inline(always)]
pub(super) fn short_digests<L: Lanes<W>, const W: usize>(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    for (inputs, out) in inputs.chunks(W).zip(out.chunks_mut(W)) {
        let mut buffers = [[0; BLOCK]; W];
        let mut blocks = [&[0; BLOCK]; W];
        for ((block, buffer), input) in blocks.iter_mut().zip(&mut buffers).zip(inputs) {
            buffer[..input.len()].copy_from_slice(input);
            buffer[input.len()] = 0x80;
            // At most 55 bytes.
            buffer[SHORT + 1..][..8].copy_from_slice(&(8 * input.len() as u64).to_le_bytes());
            *block = buffer;
        }
        let start = START.map(L::splat);
        let states = block_of_each(start, &L::words(&blocks)).map(L::store);
        for (n, digest) in out.iter_mut().enumerate() {
            for (bytes, word) in digest.chunks_exact_mut(4).zip(&states) {
                bytes.copy_from_slice(&word[n].to_le_bytes());
            }
        }
    }
}

/// How many blocks every lane that has an input can take as they lie.
fn whole_blocks(lanes: &[Lane<'_>]) -> usize {
    lanes
        .iter()
        .filter(|lane| !lane.is_idle())
        .map(|lane| lane.rest.len() / BLOCK)
        .min()
        .unwrap_or(0)
}

/// The steps for one block of each lane.
#[inline(always)]
fn block_of_each<L: Lanes<W>, const W: usize>(state: [L; 4], words: &[L; 16]) -> [L; 4] {
    let [mut a, mut b, mut c, mut d] = state;
    // Four steps, after which each of the four has its turn again.
    macro_rules! steps {
        ($i:expr, $word:expr, $function:expr, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
            a = step::<L, W, $s0, { 32 - $s0 }>(a, b, $function(b, c, d), words[$word($i)], $i);
            d = step::<L, W, $s1, { 32 - $s1 }>(
                d,
                a,
                $function(a, b, c),
                words[$word($i + 1)],
                $i + 1,
            );
            c = step::<L, W, $s2, { 32 - $s2 }>(
                c,
                d,
                $function(d, a, b),
                words[$word($i + 2)],
                $i + 2,
            );
            b = step::<L, W, $s3, { 32 - $s3 }>(
                b,
                c,
                $function(c, d, a),
                words[$word($i + 3)],
                $i + 3,
            );
        };
    }
    for i in [0, 4, 8, 12] {
        steps!(
            i,
            |i: usize| i % 16,
            |b: L, c, d| b.choose(c, d),
            7,
            12,
            17,
            22
        );
    }
    for i in [16, 20, 24, 28] {
        steps!(
            i,
            |i: usize| (5 * i + 1) % 16,
            |b, c, d: L| d.choose(b, c),
            5,
            9,
            14,
            20
        );
    }
    for i in [32, 36, 40, 44] {
        steps!(
            i,
            |i: usize| (3 * i + 5) % 16,
            |b: L, c, d| b.xor(c, d),
            4,
            11,
            16,
            23
        );
    }
    for i in [48, 52, 56, 60] {
        steps!(
            i,
            |i: usize| 7 * i % 16,
            |b: L, c, d| b.last(c, d),
            6,
            10,
            15,
            21
        );
    }
    let [a0, b0, c0, d0] = state;
    [a0.add(a), b0.add(b), c0.add(c), d0.add(d)]
}

#[inline(always)]
fn step<L: Lanes<W>, const W: usize, const LEFT: i32, const RIGHT: i32>(
    a: L,
    b: L,
    mixed: L,
    word: L,
    i: usize,
) -> L {
    // The new `mixed` is what the step waits for: it is added last.
    let sum = a.add(word.add(L::splat(SINES[i]))).add(mixed);
    b.add(sum.rotate::<LEFT, RIGHT>())
}

/// An input on its way through a lane.
struct Lane<'a> {
    /// Of the piece at hand.
    rest: &'a [u8],
    /// Pieces after it.
    pieces: &'a [&'a [u8]],
    /// Of the whole input, in bits, modulo 2^64.
    length: u64,
    /// Which input.
    input: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Data,
    /// The end is marked; the length did not fit behind it.
    Length,
    Finished,
}

impl<'a> Lane<'a> {
    const fn idle() -> Self {
        Lane {
            rest: &[],
            pieces: &[],
            length: 0,
            input: 0,
            stage: Stage::Idle,
        }
    }

    fn new(pieces: &'a [&'a [u8]], input: usize) -> Self {
        // usize is at most 64 bits wide, and the length counts modulo 2^64.
        let bytes = pieces.iter().fold(0_u64, |sum, piece| {
            sum.wrapping_add(u64::try_from(piece.len()).unwrap_or(0))
        });
        let length = bytes.wrapping_mul(8);
        Lane {
            rest: &[],
            pieces,
            length,
            input,
            stage: Stage::Data,
        }
    }

    fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// The next block, if it lies in the piece at hand.
    #[inline(always)]
    fn inside(&mut self) -> Option<&'a [u8; BLOCK]> {
        let (block, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(block)
    }

    /// The next block of an input that is not over, put together in `buffer` where it has to be.
    #[inline(always)]
    fn next<'b>(&mut self, buffer: &'b mut [u8; BLOCK]) -> &'b [u8; BLOCK]
    where
        'a: 'b,
    {
        match self.stage {
            Stage::Idle | Stage::Finished => return buffer,
            Stage::Length => *buffer = [0; BLOCK],
            Stage::Data => {
                if let Some(block) = self.inside() {
                    return block;
                }
                let mut filled = 0;
                loop {
                    let take = self.rest.len().min(BLOCK - filled);
                    let (taken, rest) = self.rest.split_at(take);
                    buffer[filled..filled + take].copy_from_slice(taken);
                    self.rest = rest;
                    filled += take;
                    if filled == BLOCK {
                        return buffer;
                    }
                    let Some((piece, pieces)) = self.pieces.split_first() else {
                        break;
                    };
                    (self.rest, self.pieces) = (piece, pieces);
                }
                buffer[filled] = 0x80;
                buffer[filled + 1..].fill(0);
                if filled + 1 > BLOCK - 8 {
                    self.stage = Stage::Length;
                    return buffer;
                }
            }
        }
        buffer[BLOCK - 8..].copy_from_slice(&self.length.to_le_bytes());
        self.stage = Stage::Finished;
        buffer
    }

    /// The input whose last block was taken; the lane is idle after it.
    fn finished(&mut self) -> Option<usize> {
        if self.stage != Stage::Finished {
            return None;
        }
        self.stage = Stage::Idle;
        Some(self.input)
    }
}
