//! The inner kernel on AMX: tiles of 16 by 16 sums, two by two of them at once, for pairs of `bf16`.
//!
//! The steps of a sum are taken 16 words at a time, and rounded once for each 16: so where a group of 16 begins must not
//! depend on what else is computed ([`crate::gemm::Rows::live`] sees to it). What is left at the end of a sum is added by
//! the kernel for AVX-512.
//!
//! The compiler knows no tiles, so nothing but this file touches them; they keep what is in them from one block of
//! assembly to the next.

use std::{
    arch::{asm, x86_64::__cpuid_count},
    cell::Cell,
};

use super::tile::{Kernel, PANEL, STRIDE, Segment, Tile};
use crate::{Format, Isa};

/// Rows and columns of a tile of sums, and words of a row of a tile of operands.
const SIDE: usize = 16;

/// What is done with tiles. Sums are in four of them, two by two.
trait Tiles {
    /// Sets the rows of the upper and of the lower tiles; there may be no lower ones.
    unsafe fn configure(rows: [usize; 2]);
    /// Clears the sums.
    unsafe fn clear();
    /// Reads the sums, whose rows are `stride` words apart.
    unsafe fn load(from: *const f32, stride: usize, lower: bool);
    /// Adds `groups` times 16 steps: rows of `left` are `STRIDE` words apart, steps of `right` `PANEL`.
    unsafe fn add(left: *const f32, right: *const f32, groups: usize, lower: bool);
    /// Writes the sums.
    unsafe fn store(to: *mut f32, stride: usize, lower: bool);
    /// The kernel for what is left of a sum.
    fn rest() -> Kernel;
}

/// The kernel, for a CPU whose [`is_usable`] is true.
pub(super) fn kernel() -> Kernel {
    Kernel {
        rows: 2 * SIDE,
        run: run::<Registers>,
        run_transposed: run_no_transposed,
        by_rows: true,
    }
}

/// # Safety
/// None.
unsafe fn run_no_transposed(_: &Tile<'_>, _: usize) {
    unreachable!("`by_rows` says that left operands are not transposed");
}

/// # Safety
/// As for [`Kernel::run`].
unsafe fn run<T: Tiles>(tile: &Tile<'_>, rows: usize) {
    let lower = rows > SIDE;
    let upper_rows = rows.min(SIDE);
    // SAFETY: as the caller promises, the operands and the sums are at all the places of the tile; whole groups of 16 steps
    // read no more than the segments' depth.
    unsafe {
        T::configure([upper_rows, rows - upper_rows]);
        if tile.add {
            T::load(tile.to, tile.to_stride, lower);
        } else {
            T::clear();
        }
        for segment in tile.segments {
            let groups = segment.depth / SIDE;
            if groups > 0 {
                T::add(
                    tile.left.add(segment.left),
                    tile.right.add(segment.right * PANEL),
                    groups,
                    lower,
                );
            }
        }
        T::store(tile.to, tile.to_stride, lower);
        for segment in tile
            .segments
            .iter()
            .filter(|segment| !segment.depth.is_multiple_of(SIDE))
        {
            let done = segment.depth / SIDE * SIDE;
            let rest = [Segment {
                left: segment.left + done,
                right: segment.right + done,
                depth: segment.depth - done,
            }];
            let kernel = T::rest();
            for first in (0..rows).step_by(kernel.rows) {
                let part = Tile {
                    left: tile.left.add(first * STRIDE),
                    to: tile.to.add(first * tile.to_stride),
                    segments: &rest,
                    add: true,
                    ..*tile
                };
                kernel.run(&part, kernel.rows.min(rows - first), false);
            }
        }
    }
}

/// Whether this CPU has the tiles, and the system lets this process use them. Asks the system for them.
pub(crate) fn is_usable() -> bool {
    cpu_has_tiles() && is_permitted()
}

fn cpu_has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid_count(0, 0).eax < 7 || __cpuid_count(1, 0).ecx & OSXSAVE == 0 {
        return false;
    }
    if __cpuid_count(7, 0).edx & AMX_BF16_AND_TILE != AMX_BF16_AND_TILE {
        return false;
    }
    let enabled: u32;
    // SAFETY: OSXSAVE says that the instruction is there; it only reads register 0.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack))
    };
    enabled & TILE_STATE == TILE_STATE
}

/// Linux gives the tiles' registers to a process that asks for them.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the call takes two numbers and touches no memory of this process; the kernel changes the registers that are
    // named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The CPU's own tiles: sums in 0 to 3 (upper left, upper right, lower left, lower right), the left operand in 4 and 5
/// (upper, lower), the right one in 6 and 7.
struct Registers;

/// How tiles are configured: palette 1, with the bytes of a row and the rows of each.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

impl Configuration {
    fn new([upper, lower]: [usize; 2]) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        // Tiles that are not used keep a size that is allowed.
        let lower = if lower == 0 { SIDE } else { lower };
        let rows = [upper, upper, lower, lower, upper, lower, SIDE, SIDE];
        for (tile, rows) in rows.into_iter().enumerate() {
            bytes[16 + 2 * tile] = (SIDE * size_of::<f32>()) as u8;
            bytes[48 + tile] = rows as u8;
        }
        Self(bytes)
    }
}

impl Tiles for Registers {
    unsafe fn configure(rows: [usize; 2]) {
        thread_local! {
            static CONFIGURED: Cell<[usize; 2]> = const { Cell::new([0; 2]) };
        }
        // Nobody else configures the tiles of this thread, and nobody releases them.
        if CONFIGURED.replace(rows) != rows {
            let configuration = Configuration::new(rows);
            // SAFETY: the CPU has the instruction, which reads the 64 bytes.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack, readonly)) };
        }
    }

    unsafe fn clear() {
        // SAFETY: the tiles are configured.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem)
            )
        };
    }

    unsafe fn load(from: *const f32, stride: usize, lower: bool) {
        // SAFETY: the caller's sums are there to be read, as many rows as the tiles are configured for.
        unsafe {
            asm!(
                "tileloadd tmm0, [{from} + {stride}*1]", "tileloadd tmm1, [{from} + {stride}*1 + 64]",
                from = in(reg) from, stride = in(reg) stride * 4, options(nostack, readonly),
            );
            if lower {
                asm!(
                    "tileloadd tmm2, [{from} + {stride}*1]", "tileloadd tmm3, [{from} + {stride}*1 + 64]",
                    from = in(reg) from.add(SIDE * stride), stride = in(reg) stride * 4, options(nostack, readonly),
                );
            }
        }
    }

    unsafe fn add(left: *const f32, right: *const f32, groups: usize, lower: bool) {
        const LEFT_STRIDE: usize = STRIDE * 4;
        const RIGHT_STRIDE: usize = PANEL * 4;
        // SAFETY: `groups` is at least 1; each pass reads 16 words of every row of `left` and 16 steps of `right`.
        unsafe {
            if lower {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{upper} + {left_stride}*1]",
                    "tileloadd tmm6, [{right} + {right_stride}*1]",
                    "tileloadd tmm7, [{right} + {right_stride}*1 + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{lower} + {left_stride}*1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {upper}, 64",
                    "add {lower}, 64",
                    "add {right}, {group}",
                    "dec {groups}",
                    "jnz 2b",
                    upper = inout(reg) left => _,
                    lower = inout(reg) left.add(SIDE * STRIDE) => _,
                    right = inout(reg) right => _,
                    groups = inout(reg) groups => _,
                    left_stride = in(reg) LEFT_STRIDE,
                    right_stride = in(reg) RIGHT_STRIDE,
                    group = const SIDE * RIGHT_STRIDE,
                    options(nostack, readonly),
                );
            } else {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{upper} + {left_stride}*1]",
                    "tileloadd tmm6, [{right} + {right_stride}*1]",
                    "tileloadd tmm7, [{right} + {right_stride}*1 + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {upper}, 64",
                    "add {right}, {group}",
                    "dec {groups}",
                    "jnz 2b",
                    upper = inout(reg) left => _,
                    right = inout(reg) right => _,
                    groups = inout(reg) groups => _,
                    left_stride = in(reg) LEFT_STRIDE,
                    right_stride = in(reg) RIGHT_STRIDE,
                    group = const SIDE * RIGHT_STRIDE,
                    options(nostack, readonly),
                );
            }
        }
    }

    unsafe fn store(to: *mut f32, stride: usize, lower: bool) {
        // SAFETY: the caller's sums are there to be written, as many rows as the tiles are configured for.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm0", "tilestored [{to} + {stride}*1 + 64], tmm1",
                to = in(reg) to, stride = in(reg) stride * 4, options(nostack),
            );
            if lower {
                asm!(
                    "tilestored [{to} + {stride}*1], tmm2", "tilestored [{to} + {stride}*1 + 64], tmm3",
                    to = in(reg) to.add(SIDE * stride), stride = in(reg) stride * 4, options(nostack),
                );
            }
        }
    }

    fn rest() -> Kernel {
        Kernel::new(Isa::Avx512Bf16, Format::Bf16)
    }
}

/// The tiles in plain Rust: what the instructions do, for machines that lack them.
#[cfg(test)]
pub(super) mod emulated {
    use std::cell::RefCell;

    use super::*;
    use crate::isa::available;

    /// The kernel on emulated tiles.
    pub(crate) fn kernel() -> Kernel {
        Kernel {
            rows: 2 * SIDE,
            run: run::<Emulated>,
            run_transposed: run_no_transposed,
            by_rows: true,
        }
    }

    struct Emulated;

    #[derive(Default)]
    struct State {
        rows: [usize; 2],
        sums: [[[f32; 2 * SIDE]; SIDE]; 2],
    }

    thread_local! {
        static STATE: RefCell<State> = RefCell::default();
    }

    fn halves(pair: f32) -> [f32; 2] {
        [
            f32::from_bits(pair.to_bits() << 16),
            f32::from_bits(pair.to_bits() & 0xffff_0000),
        ]
    }

    fn for_each_row(lower: bool, mut visit: impl FnMut(usize, &mut [f32; 2 * SIDE])) {
        STATE.with_borrow_mut(|state| {
            for half in 0..1 + usize::from(lower) {
                for row in 0..state.rows[half] {
                    visit(half * SIDE + row, &mut state.sums[half][row]);
                }
            }
        });
    }

    impl Tiles for Emulated {
        unsafe fn configure(rows: [usize; 2]) {
            assert!((1..=SIDE).contains(&rows[0]) && rows[1] <= SIDE);
            STATE.with_borrow_mut(|state| state.rows = rows);
        }

        unsafe fn clear() {
            STATE.with_borrow_mut(|state| state.sums = Default::default());
        }

        unsafe fn load(from: *const f32, stride: usize, lower: bool) {
            for_each_row(lower, |row, sums| {
                for (column, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: as for the registers.
                    *sum = unsafe { from.add(row * stride + column).read() };
                }
            });
        }

        unsafe fn add(left: *const f32, right: *const f32, groups: usize, lower: bool) {
            for_each_row(lower, |row, sums| {
                for group in 0..groups {
                    let mut parts = [[0.0; 2]; 2 * SIDE];
                    for (step, column) in
                        (0..SIDE * 2 * SIDE).map(|i| (i / (2 * SIDE), i % (2 * SIDE)))
                    {
                        // SAFETY: as for the registers.
                        let (a, b) = unsafe {
                            let step = group * SIDE + step;
                            (
                                left.add(row * STRIDE + step).read(),
                                right.add(step * PANEL + column).read(),
                            )
                        };
                        let parts = &mut parts[column];
                        for (part, (a, b)) in
                            parts.iter_mut().zip(halves(a).into_iter().zip(halves(b)))
                        {
                            *part = a.mul_add(b, *part);
                        }
                    }
                    sums.iter_mut()
                        .zip(parts)
                        .for_each(|(sum, [first, second])| *sum += first + second);
                }
            });
        }

        unsafe fn store(to: *mut f32, stride: usize, lower: bool) {
            for_each_row(lower, |row, sums| {
                for (column, sum) in sums.iter().enumerate() {
                    // SAFETY: as for the registers.
                    unsafe { to.add(row * stride + column).write(*sum) };
                }
            });
        }

        fn rest() -> Kernel {
            let best = available().into_iter().filter(|isa| *isa < Isa::Amx).max();
            Kernel::new(best.unwrap_or(Isa::Portable), Format::Bf16)
        }
    }
}
