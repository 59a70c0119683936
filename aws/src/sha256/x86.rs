//! The compression of SHA-256 by the instructions that x86-64 has for it, of several inputs side by side.

use super::input::Block;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi64x, _mm_setr_epi32,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
const ROUNDS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx2")
}

/// The states after these blocks of each input; the inputs have as many each. Only where
/// [`is_available`].
pub(super) fn compress<const N: usize>(
    states: [[u32; 8]; N],
    blocks: [&[Block]; N],
) -> [[u32; 8]; N] {
    assert!(is_available(), "the CPU has what this needs");
    // SAFETY: it was found just now that the CPU has these features; the function asks for nothing else.
    #[expect(unsafe_code, reason = "calls what needs features of the CPU")]
    unsafe {
        with_instructions(states, blocks)
    }
}

/// AVX2 is for the form of its instructions that leaves both operands alone.
#[target_feature(enable = "sha,sse4.1,avx2")]
fn with_instructions<const N: usize>(
    mut states: [[u32; 8]; N],
    blocks: [&[Block]; N],
) -> [[u32; 8]; N] {
    let zero = quad([0; 4]);
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    // The instructions want the words in this order.
    let mut inputs = [[zero; 2]; N];
    for (input, [a, b, c, d, e, f, g, h]) in inputs.iter_mut().zip(&states) {
        *input = [quad([*f, *e, *b, *a]), quad([*h, *g, *d, *c])];
    }
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    for at in 0..count {
        let mut words = [[zero; 4]; N];
        for (words, blocks) in words.iter_mut().zip(&blocks) {
            let Some(block) = blocks.get(at) else {
                continue;
            };
            for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
                *word = _mm_shuffle_epi8(load(*bytes), big_endian);
            }
        }
        let before = inputs;
        for (round, constants) in ROUNDS.iter().enumerate() {
            let constants = quad(*constants);
            for ([abef, cdgh], words) in inputs.iter_mut().zip(&mut words) {
                let [now, next, third, last] = *words;
                let sum = _mm_add_epi32(now, constants);
                *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
                *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(sum));
                let mut new = now;
                if round < 12 {
                    let sum = _mm_alignr_epi8::<4>(last, third);
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, next), sum);
                    new = _mm_sha256msg2_epu32(sum, last);
                }
                *words = [next, third, last, new];
            }
        }
        for (input, before) in inputs.iter_mut().zip(before) {
            for (half, before) in input.iter_mut().zip(before) {
                *half = _mm_add_epi32(*half, before);
            }
        }
    }
    for (state, [abef, cdgh]) in states.iter_mut().zip(inputs) {
        let ([f, e, b, a], [h, g, d, c]) = (numbers(abef), numbers(cdgh));
        *state = [a, b, c, d, e, f, g, h];
    }
    states
}

#[target_feature(enable = "avx2")]
#[inline]
fn load(bytes: [u8; 16]) -> __m128i {
    let half = |from| bytes.get(from..).and_then(<[u8]>::first_chunk).copied();
    let [low, high] = [0, 8].map(|from| half(from).map_or(0, i64::from_le_bytes));
    _mm_set_epi64x(high, low)
}

#[target_feature(enable = "avx2")]
#[inline]
fn quad(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_setr_epi32(a, b, c, d)
}

#[target_feature(enable = "avx2")]
#[inline]
fn numbers(words: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<0>(words),
        _mm_extract_epi32::<1>(words),
        _mm_extract_epi32::<2>(words),
        _mm_extract_epi32::<3>(words),
    ]
    .map(i32::cast_unsigned)
}
