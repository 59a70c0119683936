//! Lanes on x86-64: sixteen in one register of AVX-512 or two of AVX2, or thirty-two in two of AVX-512.
//! The steps of two registers hide each other's latency.

#![expect(unsafe_code, reason = "the CPU's vector instructions")]
#![expect(
    clippy::indexing_slicing,
    reason = "indices are constants below the widths; tests run every lane"
)]

use std::arch::x86_64::*;

use super::lanes::{Lanes, digests, short_digests};

/// As [`digests`], with AVX-512.
#[target_feature(enable = "avx512f")]
pub(super) fn with_avx512<'a>(
    inputs: impl Iterator<Item = &'a [&'a [u8]]>,
    out: &mut Vec<[u8; 16]>,
) {
    digests::<Avx512, 16>(inputs, out);
}

/// As [`with_avx512`], for more than sixteen inputs.
#[target_feature(enable = "avx512f")]
pub(super) fn with_avx512_twice<'a>(
    inputs: impl Iterator<Item = &'a [&'a [u8]]>,
    out: &mut Vec<[u8; 16]>,
) {
    digests::<Pair<Avx512>, 32>(inputs, out);
}

/// As [`digests`], with AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn with_avx2<'a>(inputs: impl Iterator<Item = &'a [&'a [u8]]>, out: &mut Vec<[u8; 16]>) {
    digests::<Avx2, 16>(inputs, out);
}

/// As [`short_digests`], with AVX-512.
#[target_feature(enable = "avx512f")]
pub(super) fn short_with_avx512(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    short_digests::<Avx512, 16>(inputs, out);
}

/// As [`short_with_avx512`], for more than sixteen inputs.
#[target_feature(enable = "avx512f")]
pub(super) fn short_with_avx512_twice(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    short_digests::<Pair<Avx512>, 32>(inputs, out);
}

/// As [`short_digests`], one after the other: AVX-512 has MD5's functions and rotations as one instruction
/// each, also for a single lane.
#[target_feature(enable = "avx512f,avx512vl")]
pub(super) fn short_alone_with_avx512(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    short_digests::<Alone, 1>(inputs, out);
}

/// As [`short_digests`], with AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn short_with_avx2(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    short_digests::<Avx2, 16>(inputs, out);
}

/// Made only by the functions above that switch AVX-512 on, so the CPU has it.
#[derive(Clone, Copy)]
struct Avx512(__m512i);

impl Lanes<16> for Avx512 {
    #[inline(always)]
    fn load(words: &[u32; 16]) -> Self {
        // SAFETY: the feature is there (see the type); 64 bytes are read from an array of 64 bytes,
        // with no need of alignment.
        Avx512(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn store(self) -> [u32; 16] {
        let mut words = [0; 16];
        // SAFETY: the feature is there (see the type); 64 bytes are written to an array of 64 bytes,
        // with no need of alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self.0) };
        words
    }

    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: the feature is there (see the type).
        Avx512(unsafe { _mm512_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Avx512(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn choose(self, then: Self, otherwise: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Avx512(unsafe { _mm512_ternarylogic_epi32::<0xca>(self.0, then.0, otherwise.0) })
    }

    #[inline(always)]
    fn xor(self, second: Self, third: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Avx512(unsafe { _mm512_ternarylogic_epi32::<0x96>(self.0, second.0, third.0) })
    }

    #[inline(always)]
    fn last(self, c: Self, d: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Avx512(unsafe { _mm512_ternarylogic_epi32::<0x39>(self.0, c.0, d.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: the feature is there (see the type).
        Avx512(unsafe { _mm512_rol_epi32::<LEFT>(self.0) })
    }

    #[inline(always)]
    fn words(blocks: &[&[u8; 64]; 16]) -> [Self; 16] {
        // SAFETY: the feature is there (see the type); each load reads the 64 bytes of one block,
        // with no need of alignment.
        unsafe {
            let rows = blocks.map(|block| _mm512_loadu_si512(block.as_ptr().cast()));
            // A 4 × 4 transposition inside each 128 bits, of four rows at a time.
            let mut fours = [[rows[0]; 4]; 4];
            for (four, rows) in fours.iter_mut().zip(rows.as_chunks::<4>().0) {
                let [r0, r1, r2, r3] = *rows;
                let (a, b) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
                let (c, d) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
                *four = [
                    _mm512_unpacklo_epi64(a, c),
                    _mm512_unpackhi_epi64(a, c),
                    _mm512_unpacklo_epi64(b, d),
                    _mm512_unpackhi_epi64(b, d),
                ];
            }
            // Then one of the 128-bit parts themselves, for each word inside them.
            let mut words = [Avx512(rows[0]); 16];
            let [f0, f1, f2, f3] = fours;
            for (n, (((&p0, &p1), &p2), &p3)) in f0.iter().zip(&f1).zip(&f2).zip(&f3).enumerate() {
                let (a, b) = (
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(p0, p1),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(p0, p1),
                );
                let (c, d) = (
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(p2, p3),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(p2, p3),
                );
                words[n] = Avx512(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, c));
                words[n + 4] = Avx512(_mm512_shuffle_i32x4::<0b10_00_10_00>(b, d));
                words[n + 8] = Avx512(_mm512_shuffle_i32x4::<0b11_01_11_01>(a, c));
                words[n + 12] = Avx512(_mm512_shuffle_i32x4::<0b11_01_11_01>(b, d));
            }
            words
        }
    }
}

/// One lane. Made only by the function above that switches AVX-512VL on, so the CPU has it.
#[derive(Clone, Copy)]
struct Alone(__m128i);

impl Lanes<1> for Alone {
    #[inline(always)]
    fn load(words: &[u32; 1]) -> Self {
        Self::splat(words[0])
    }

    #[inline(always)]
    fn store(self) -> [u32; 1] {
        // SAFETY: the feature is there (see the type).
        [unsafe { _mm_cvtsi128_si32(self.0) }.cast_unsigned()]
    }

    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: the feature is there (see the type).
        Alone(unsafe { _mm_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Alone(unsafe { _mm_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn choose(self, then: Self, otherwise: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Alone(unsafe { _mm_ternarylogic_epi32::<0xca>(self.0, then.0, otherwise.0) })
    }

    #[inline(always)]
    fn xor(self, second: Self, third: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Alone(unsafe { _mm_ternarylogic_epi32::<0x96>(self.0, second.0, third.0) })
    }

    #[inline(always)]
    fn last(self, c: Self, d: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        Alone(unsafe { _mm_ternarylogic_epi32::<0x39>(self.0, c.0, d.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: the feature is there (see the type).
        Alone(unsafe { _mm_rol_epi32::<LEFT>(self.0) })
    }

    #[inline(always)]
    fn words(blocks: &[&[u8; 64]; 1]) -> [Self; 16] {
        let mut words = [Self::splat(0); 16];
        for (word, bytes) in words.iter_mut().zip(blocks[0].as_chunks().0) {
            *word = Self::splat(u32::from_le_bytes(*bytes));
        }
        words
    }
}

/// Two registers for one, whose steps hide each other's latency.
#[derive(Clone, Copy)]
struct Pair<L>(L, L);

impl<L: Lanes<16>> Lanes<32> for Pair<L> {
    #[inline(always)]
    fn load(words: &[u32; 32]) -> Self {
        let halves = words.as_chunks::<16>().0;
        Pair(L::load(&halves[0]), L::load(&halves[1]))
    }

    #[inline(always)]
    fn store(self) -> [u32; 32] {
        let mut words = [0; 32];
        let halves = words.as_chunks_mut::<16>().0;
        halves[0] = self.0.store();
        halves[1] = self.1.store();
        words
    }

    #[inline(always)]
    fn splat(word: u32) -> Self {
        Pair(L::splat(word), L::splat(word))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Pair(self.0.add(other.0), self.1.add(other.1))
    }

    #[inline(always)]
    fn choose(self, then: Self, otherwise: Self) -> Self {
        Pair(
            self.0.choose(then.0, otherwise.0),
            self.1.choose(then.1, otherwise.1),
        )
    }

    #[inline(always)]
    fn xor(self, second: Self, third: Self) -> Self {
        Pair(self.0.xor(second.0, third.0), self.1.xor(second.1, third.1))
    }

    #[inline(always)]
    fn last(self, c: Self, d: Self) -> Self {
        Pair(self.0.last(c.0, d.0), self.1.last(c.1, d.1))
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        Pair(
            self.0.rotate::<LEFT, RIGHT>(),
            self.1.rotate::<LEFT, RIGHT>(),
        )
    }

    #[inline(always)]
    fn words(blocks: &[&[u8; 64]; 32]) -> [Self; 16] {
        let halves = blocks.as_chunks::<16>().0;
        let (low, high) = (L::words(&halves[0]), L::words(&halves[1]));
        let mut words = [Pair(low[0], high[0]); 16];
        for (word, (low, high)) in words.iter_mut().zip(low.into_iter().zip(high)) {
            *word = Pair(low, high);
        }
        words
    }
}

/// Made only by the functions above that switch AVX2 on, so the CPU has it.
#[derive(Clone, Copy)]
struct Avx2(__m256i, __m256i);

impl Lanes<16> for Avx2 {
    #[inline(always)]
    fn load(words: &[u32; 16]) -> Self {
        let low = words.as_ptr().cast::<__m256i>();
        // SAFETY: the feature is there (see the type); 2 × 32 bytes are read from an array of 64
        // bytes, with no need of alignment.
        unsafe { Avx2(_mm256_loadu_si256(low), _mm256_loadu_si256(low.add(1))) }
    }

    #[inline(always)]
    fn store(self) -> [u32; 16] {
        let mut words = [0; 16];
        let low = words.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the feature is there (see the type); 2 × 32 bytes are written to an array of 64
        // bytes, with no need of alignment.
        unsafe {
            _mm256_storeu_si256(low, self.0);
            _mm256_storeu_si256(low.add(1), self.1);
        }
        words
    }

    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: the feature is there (see the type).
        let all = unsafe { _mm256_set1_epi32(word.cast_signed()) };
        Avx2(all, all)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        unsafe {
            Avx2(
                _mm256_add_epi32(self.0, other.0),
                _mm256_add_epi32(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    fn choose(self, then: Self, otherwise: Self) -> Self {
        let half = |mask, then, otherwise| {
            // SAFETY: the feature is there (see the type).
            unsafe {
                let differs = _mm256_xor_si256(then, otherwise);
                _mm256_xor_si256(_mm256_and_si256(mask, differs), otherwise)
            }
        };
        Avx2(
            half(self.0, then.0, otherwise.0),
            half(self.1, then.1, otherwise.1),
        )
    }

    #[inline(always)]
    fn xor(self, second: Self, third: Self) -> Self {
        let half = |first, second, third| {
            // SAFETY: the feature is there (see the type).
            unsafe { _mm256_xor_si256(first, _mm256_xor_si256(second, third)) }
        };
        Avx2(
            half(self.0, second.0, third.0),
            half(self.1, second.1, third.1),
        )
    }

    #[inline(always)]
    fn last(self, c: Self, d: Self) -> Self {
        let half = |b, c, d| {
            // SAFETY: the feature is there (see the type).
            unsafe {
                let not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
                _mm256_xor_si256(c, _mm256_or_si256(b, not_d))
            }
        };
        Avx2(half(self.0, c.0, d.0), half(self.1, c.1, d.1))
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        let half = |word| {
            // SAFETY: the feature is there (see the type).
            unsafe {
                _mm256_or_si256(
                    _mm256_slli_epi32::<LEFT>(word),
                    _mm256_srli_epi32::<RIGHT>(word),
                )
            }
        };
        Avx2(half(self.0), half(self.1))
    }

    #[inline(always)]
    fn words(blocks: &[&[u8; 64]; 16]) -> [Self; 16] {
        // Eight rows of eight words each: half of the lanes, half of the words.
        let quarter = |lanes: usize, words: usize| {
            // SAFETY: the feature is there (see the type); each load reads 32 of a block's 64
            // bytes, `words` being 0 or 1, with no need of alignment.
            unsafe {
                let row = |n: usize| {
                    let block = blocks[lanes + n].as_ptr().cast::<__m256i>();
                    _mm256_loadu_si256(block.add(words))
                };
                // A 4 × 4 transposition inside each 128 bits, of four rows at a time.
                let four = |n: usize| {
                    let (r0, r1, r2, r3) = (row(n), row(n + 1), row(n + 2), row(n + 3));
                    let (a, b) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
                    let (c, d) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
                    [
                        _mm256_unpacklo_epi64(a, c),
                        _mm256_unpackhi_epi64(a, c),
                        _mm256_unpacklo_epi64(b, d),
                        _mm256_unpackhi_epi64(b, d),
                    ]
                };
                let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (four(0), four(4));
                let low = |a, b| _mm256_permute2x128_si256::<0x20>(a, b);
                let high = |a, b| _mm256_permute2x128_si256::<0x31>(a, b);
                [
                    low(a0, b0),
                    low(a1, b1),
                    low(a2, b2),
                    low(a3, b3),
                    high(a0, b0),
                    high(a1, b1),
                    high(a2, b2),
                    high(a3, b3),
                ]
            }
        };
        let [first, second] = [0, 1].map(|words| {
            let (lower, upper) = (quarter(0, words), quarter(8, words));
            let mut both = [Avx2(lower[0], upper[0]); 8];
            for (both, (lower, upper)) in both.iter_mut().zip(lower.into_iter().zip(upper)) {
                *both = Avx2(lower, upper);
            }
            both
        });
        let mut all = [first[0]; 16];
        all[..8].copy_from_slice(&first);
        all[8..].copy_from_slice(&second);
        all
    }
}
