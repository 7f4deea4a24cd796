use half::{bf16, f16};

/// The formats in which weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    /// The numbers as `f32`, which holds each of them exactly. Bytes are little-endian, as are all machines that have
    /// kernels here.
    pub(super) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], number: fn([u8; N]) -> f32) -> Vec<f32> {
            let (words, _) = bytes.as_chunks();
            words.iter().map(|word| number(*word)).collect()
        }
        match self {
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F16 => each(bytes, |word| f16::from_le_bytes(word).to_f32()),
            Self::Bf16 => each(bytes, |word| bf16::from_le_bytes(word).to_f32()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        let f16s = [0x3c00_u16, 0xc000, 0x0001, 0x7bff].map(u16::to_le_bytes);
        let expected = [1.0, -2.0, 2f32.powi(-24), 65504.0];
        assert_eq!(Format::F16.widen(f16s.as_flattened()), expected);
        let bf16s = [0x3f80_u16, 0xc000, 0x0001, 0x7f7f].map(u16::to_le_bytes);
        let expected = [
            1.0,
            -2.0,
            f32::from_bits(1 << 16),
            f32::from_bits(0x7f7f << 16),
        ];
        assert_eq!(Format::Bf16.widen(bf16s.as_flattened()), expected);
    }
}
