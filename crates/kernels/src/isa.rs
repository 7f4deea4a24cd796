use std::{fmt, sync::OnceLock};

/// The instructions that the kernels use; each has those before it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every CPU has.
    Portable,
    /// AVX2 and FMA: 8 numbers at a time.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL): 16 numbers at a time.
    Avx512,
    /// AVX-512 with products of `bf16` pairs.
    Avx512Bf16,
    /// AMX: products of `bf16` tiles.
    Amx,
}

impl Isa {
    /// Its name, as results of benchmarks write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512_bf16",
            Self::Amx => "amx",
        }
    }
}

/// The environment variable that names instructions.
const VARIABLE: &str = "STRATA_ISA";

/// The instructions in use: the best that this CPU has, or those that the environment variable `STRATA_ISA`
/// (`portable`, `avx2`, `avx512`, `amx`) names, if the CPU has them. `avx512` includes its products of `bf16`, where the
/// CPU has those. A word that is none of these changes nothing; programs refuse it first, see [`check_environment`].
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| asked().unwrap_or(Isa::Amx).min(best()))
}

/// Whether `STRATA_ISA` is a word that [`isa`] knows, or not set.
///
/// # Errors
/// It is another one.
pub fn check_environment() -> Result<(), UnknownIsa> {
    asked().map(|_| ())
}

fn asked() -> Result<Isa, UnknownIsa> {
    let Some(word) = std::env::var_os(VARIABLE) else {
        return Ok(Isa::Amx);
    };
    match word.to_str() {
        Some("portable") => Ok(Isa::Portable),
        Some("avx2") => Ok(Isa::Avx2),
        Some("avx512") => Ok(Isa::Avx512Bf16),
        Some("amx") => Ok(Isa::Amx),
        _ => Err(UnknownIsa(word.to_string_lossy().into_owned())),
    }
}

/// A word in `STRATA_ISA` that names no instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0.escape_debug();
        write!(
            formatter,
            "{VARIABLE}: expected portable, avx2, avx512 or amx, found `{found}`"
        )
    }
}

impl std::error::Error for UnknownIsa {}

/// Whether `bf16` is the faster format by far, so that it is the default: where the CPU has tiles for it.
pub fn prefers_bf16() -> bool {
    isa() == Isa::Amx
}

/// All that this CPU has, for tests; and tiles, which are emulated where it lacks nothing but them.
#[cfg(test)]
pub(crate) fn available() -> Vec<Isa> {
    let best = if best() == Isa::Avx512Bf16 {
        Isa::Amx
    } else {
        best()
    };
    [
        Isa::Portable,
        Isa::Avx2,
        Isa::Avx512,
        Isa::Avx512Bf16,
        Isa::Amx,
    ]
    .into_iter()
    .filter(|isa| *isa <= best)
    .collect()
}

#[cfg(target_arch = "x86_64")]
fn best() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
    match (avx2, avx512, bf16) {
        (_, _, true) if crate::gemm::amx::is_usable() => Isa::Amx,
        (_, _, true) => Isa::Avx512Bf16,
        (_, true, _) => Isa::Avx512,
        (true, _, _) => Isa::Avx2,
        _ => Isa::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn best() -> Isa {
    Isa::Portable
}

/// Defines a function that runs `$body`, compiled once for each instruction set, as [`Isa`] says.
///
/// The body is plain Rust that the compiler vectorizes; `f32::mul_add` must not stand in it, since it is a slow call
/// where there is no FMA.
macro_rules! for_each_isa {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($arg:ident: $type:ty),* $(,)?) $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name $(<$($generic: $bound),+>)? (isa: $crate::Isa, $($arg: $type),*) {
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($generic: $bound),+>)? ($($arg: $type),*) { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512 $(<$($generic: $bound),+>)? ($($arg: $type),*) { body($($arg),*) }
            match isa {
                // SAFETY: `Isa` values come from `isa()` or `available()`, which ask the CPU first.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx512 | $crate::Isa::Avx512Bf16 | $crate::Isa::Amx => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(crate) use for_each_isa;
