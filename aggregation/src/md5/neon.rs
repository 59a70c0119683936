//! Eight lanes on aarch64: two registers of NEON, whose steps hide each other's latency.

#![expect(unsafe_code, reason = "the CPU's vector instructions")]
#![expect(
    clippy::indexing_slicing,
    reason = "indices are constants below the widths; tests run every lane"
)]

use std::arch::aarch64::*;

use super::lanes::{Lanes, digests, short_digests};

/// As [`digests`], with NEON.
#[target_feature(enable = "neon")]
pub(super) fn with_neon<'a>(inputs: impl Iterator<Item = &'a [&'a [u8]]>, out: &mut Vec<[u8; 16]>) {
    digests::<Neon, 8>(inputs, out);
}

/// As [`short_digests`], with NEON.
#[target_feature(enable = "neon")]
pub(super) fn short_with_neon(inputs: &[&[u8]], out: &mut [[u8; 16]]) {
    short_digests::<Neon, 8>(inputs, out);
}

/// Made only by [`with_neon`], so the CPU has the feature.
#[derive(Clone, Copy)]
struct Neon(uint32x4_t, uint32x4_t);

impl Lanes<8> for Neon {
    #[inline(always)]
    fn load(words: &[u32; 8]) -> Self {
        // SAFETY: the feature is there (see the type); 2 × 16 bytes are read from an array of 32.
        unsafe { Neon(vld1q_u32(words.as_ptr()), vld1q_u32(words.as_ptr().add(4))) }
    }

    #[inline(always)]
    fn store(self) -> [u32; 8] {
        let mut words = [0; 8];
        // SAFETY: the feature is there (see the type); 2 × 16 bytes are written to an array of 32.
        unsafe {
            vst1q_u32(words.as_mut_ptr(), self.0);
            vst1q_u32(words.as_mut_ptr().add(4), self.1);
        }
        words
    }

    #[inline(always)]
    fn splat(word: u32) -> Self {
        // SAFETY: the feature is there (see the type).
        let all = unsafe { vdupq_n_u32(word) };
        Neon(all, all)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        unsafe { Neon(vaddq_u32(self.0, other.0), vaddq_u32(self.1, other.1)) }
    }

    #[inline(always)]
    fn choose(self, then: Self, otherwise: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        unsafe {
            Neon(
                vbslq_u32(self.0, then.0, otherwise.0),
                vbslq_u32(self.1, then.1, otherwise.1),
            )
        }
    }

    #[inline(always)]
    fn xor(self, second: Self, third: Self) -> Self {
        let half = |first, second, third| {
            // SAFETY: the feature is there (see the type).
            unsafe { veorq_u32(first, veorq_u32(second, third)) }
        };
        Neon(
            half(self.0, second.0, third.0),
            half(self.1, second.1, third.1),
        )
    }

    #[inline(always)]
    fn last(self, c: Self, d: Self) -> Self {
        // SAFETY: the feature is there (see the type).
        unsafe {
            Neon(
                veorq_u32(c.0, vornq_u32(self.0, d.0)),
                veorq_u32(c.1, vornq_u32(self.1, d.1)),
            )
        }
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: the feature is there (see the type).
        unsafe {
            Neon(
                vsliq_n_u32::<LEFT>(vshrq_n_u32::<RIGHT>(self.0), self.0),
                vsliq_n_u32::<LEFT>(vshrq_n_u32::<RIGHT>(self.1), self.1),
            )
        }
    }

    #[inline(always)]
    fn words(blocks: &[&[u8; 64]; 8]) -> [Self; 16] {
        // Four rows of four words each.
        let part = |lanes: usize, words: usize| {
            // SAFETY: the feature is there (see the type); each load reads 16 of a block's 64
            // bytes, `words` being 0, 4, 8 or 12, with no need of alignment.
            unsafe {
                let row = |n: usize| {
                    vreinterpretq_u32_u8(vld1q_u8(blocks[lanes + n].as_ptr().add(4 * words)))
                };
                let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
                let pairs = |a, b| {
                    (
                        vreinterpretq_u64_u32(vtrn1q_u32(a, b)),
                        vreinterpretq_u64_u32(vtrn2q_u32(a, b)),
                    )
                };
                let ((a, b), (c, d)) = (pairs(r0, r1), pairs(r2, r3));
                [
                    vreinterpretq_u32_u64(vtrn1q_u64(a, c)),
                    vreinterpretq_u32_u64(vtrn1q_u64(b, d)),
                    vreinterpretq_u32_u64(vtrn2q_u64(a, c)),
                    vreinterpretq_u32_u64(vtrn2q_u64(b, d)),
                ]
            }
        };
        let mut all = [Self::splat(0); 16];
        for (four, words) in all.as_chunks_mut::<4>().0.iter_mut().zip([0, 4, 8, 12]) {
            let (lower, upper) = (part(0, words), part(4, words));
            for (both, (lower, upper)) in four.iter_mut().zip(lower.into_iter().zip(upper)) {
                *both = Neon(lower, upper);
            }
        }
        all
    }
}
