use strata_kernels::{Format, prefers_bf16};
use strata_spec::Precision;

/// The precision that `asked` stands for on this CPU: `f32` or `bf16`, never `auto`.
pub fn resolve(asked: Precision) -> Precision {
    match asked {
        Precision::Auto if prefers_bf16() => Precision::Bf16,
        Precision::Auto => Precision::F32,
        known => known,
    }
}

/// The format of maps and of the factors of products; everything else is `f32`.
pub(crate) fn format_of_maps(precision: Precision) -> Format {
    match resolve(precision) {
        Precision::Bf16 => Format::Bf16,
        _ => Format::F32,
    }
}
