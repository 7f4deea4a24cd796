//! Blocks of 16 by 16 words, transposed.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::Isa;

/// `to[c * stride + r] = block[r * 16 + c]`.
///
/// # Panics
/// `to` is too short.
pub(crate) fn transpose(isa: Isa, block: &[f32; 256], to: &mut [f32], stride: usize) {
    assert!(to.len() >= 15 * stride + 16, "room for 16 rows");
    match isa {
        // SAFETY: the CPU was asked for the instructions; the length was checked.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => unsafe {
            transpose_avx512(block, to.as_mut_ptr(), stride)
        },
        _ => {
            for (row, values) in block.as_chunks::<16>().0.iter().enumerate() {
                for (column, value) in values.iter().enumerate() {
                    to[column * stride + row] = *value;
                }
            }
        }
    }
}

/// # Safety
/// `to` has room for 16 rows of 16 words, `stride` apart.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_avx512(block: &[f32; 256], to: *mut f32, stride: usize) {
    // SAFETY: each of 16 loads reads 16 of the block's 256 words.
    let rows: [__m512; 16] =
        std::array::from_fn(|row| unsafe { _mm512_loadu_ps(block.as_ptr().add(row * 16)) });
    // Pairs of rows, then fours: in each lane of 128 bits, the 4 by 4 block of four rows is transposed.
    let pairs: [__m512d; 16] = std::array::from_fn(|i| {
        let (a, b) = (rows[i & !1], rows[i | 1]);
        _mm512_castps_pd(if i & 1 == 0 {
            _mm512_unpacklo_ps(a, b)
        } else {
            _mm512_unpackhi_ps(a, b)
        })
    });
    let fours: [__m512; 16] = std::array::from_fn(|i| {
        let (group, column) = (i & !3, i & 3);
        let (a, b) = (
            pairs[group + (column >> 1)],
            pairs[group + 2 + (column >> 1)],
        );
        _mm512_castpd_ps(if column & 1 == 0 {
            _mm512_unpacklo_pd(a, b)
        } else {
            _mm512_unpackhi_pd(a, b)
        })
    });
    // `fours[4 g + c]` has, in lane `l`, column `4 l + c` of the rows `4 g ..`: gather the lanes of a column.
    for column in 0..4 {
        let [a, b, c, d] = [
            fours[column],
            fours[4 + column],
            fours[8 + column],
            fours[12 + column],
        ];
        let low = [
            _mm512_shuffle_f32x4::<0x44>(a, b),
            _mm512_shuffle_f32x4::<0x44>(c, d),
        ];
        let high = [
            _mm512_shuffle_f32x4::<0xee>(a, b),
            _mm512_shuffle_f32x4::<0xee>(c, d),
        ];
        let lanes = [
            _mm512_shuffle_f32x4::<0x88>(low[0], low[1]),
            _mm512_shuffle_f32x4::<0xdd>(low[0], low[1]),
            _mm512_shuffle_f32x4::<0x88>(high[0], high[1]),
            _mm512_shuffle_f32x4::<0xdd>(high[0], high[1]),
        ];
        for (lane, values) in lanes.into_iter().enumerate() {
            // SAFETY: one of the 16 rows of `to`.
            unsafe { _mm512_storeu_ps(to.add((4 * lane + column) * stride), values) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let block: [f32; 256] = std::array::from_fn(|i| i as f32);
        for isa in crate::isa::available() {
            let mut to = vec![f32::NAN; 20 * 16];
            transpose(isa, &block, &mut to, 20);
            for (r, c) in (0..256).map(|i| (i / 16, i % 16)) {
                assert_eq!(to[c * 20 + r], block[r * 16 + c], "{isa:?} {r} {c}");
            }
        }
    }
}
