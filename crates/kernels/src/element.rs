use half::bf16;

/// The number formats of activations. Sums, statistics and weights are `f32` whatever the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32-bit floating point.
    F32,
    /// bfloat16: the upper half of an `f32`.
    Bf16,
}

/// A number of an activation: `f32` or [`bf16`].
pub trait Element:
    Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + private::Sealed + 'static
{
    /// Which of the two it is.
    const FORMAT: Format;
    /// How many fill 32 bits.
    const PER_WORD: usize = 4 / size_of::<Self>();
    /// The numbers, if they are `f32`.
    fn singles(values: &[Self]) -> Option<&[f32]>;
    /// The numbers, if they are [`bf16`].
    fn halves(values: &[Self]) -> Option<&[bf16]>;
    /// `values` themselves, if numbers of this format are `f32`.
    fn of_singles(values: &[f32]) -> Option<&[Self]>;
    /// The same number as `f32`; exact.
    fn to_f32(self) -> f32;
    /// The nearest number, to even where two are as near.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    const FORMAT: Format = Format::F32;

    fn singles(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn halves(_: &[Self]) -> Option<&[bf16]> {
        None
    }

    fn of_singles(values: &[f32]) -> Option<&[Self]> {
        Some(values)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    const FORMAT: Format = Format::Bf16;

    fn singles(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn halves(values: &[Self]) -> Option<&[Self]> {
        Some(values)
    }

    fn of_singles(_: &[f32]) -> Option<&[Self]> {
        None
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// Written out, so that loops over it become vector instructions.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // A NaN whose payload rounding would carry away stays a NaN.
        let quiet = bits >> 16 | 0x40;
        Self::from_bits(if value.is_nan() { quiet } else { rounded } as u16)
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_library() {
        let mut state = 1_u64;
        for _ in 0..100_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = f32::from_bits((state >> 32) as u32);
            let (found, expected) = (<bf16 as Element>::from_f32(value), bf16::from_f32(value));
            assert!(
                found == expected || found.is_nan() && expected.is_nan(),
                "{value}"
            );
        }
        assert_eq!(<bf16 as Element>::from_f32(f32::MAX), bf16::INFINITY);
        for bits in [0x7fff_ffff, 0xffff_ffff] {
            assert!(<bf16 as Element>::from_f32(f32::from_bits(bits)).is_nan());
        }
        assert_eq!(bf16::from_f32(1.5).to_f32(), 1.5);
    }
}
