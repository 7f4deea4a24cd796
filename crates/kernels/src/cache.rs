//! A global allocator that keeps large blocks for those who ask for the same size again.
//!
//! A training step allocates the same large buffers as the step before. Allocators give memory that lies unused for
//! some milliseconds back to the system, which must then fill every page with zeros again: some ten gigabytes a
//! second, while the kernels that write the buffers are several times as fast.

use std::{
    alloc::{GlobalAlloc, Layout},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Bytes of large blocks in use, and the most since [`forget_peak`].
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Bytes in use of blocks of 256 KiB or more: activations, gradients, weights. 0 in a program whose allocator is not a
/// [`CachingAllocator`].
pub fn bytes_in_use() -> usize {
    IN_USE.load(Relaxed)
}

/// The most that [`bytes_in_use`] was since [`forget_peak`], or since the program began.
pub fn peak_bytes_in_use() -> usize {
    PEAK.load(Relaxed)
}

/// Lets the peak begin anew from what is in use.
pub fn forget_peak() {
    PEAK.store(bytes_in_use(), Relaxed);
}

/// Smaller blocks are the inner allocator's business.
const LEAST: usize = 1 << LEAST_BITS;
const LEAST_BITS: u32 = 18;
/// Larger blocks are, too.
const MOST: usize = 1 << 46;
/// Alignment of the blocks: a line of the cache. Who asks for more asks the inner allocator.
const ALIGN: usize = 64;
/// Sizes of blocks between two powers of two: a block is at most an eighth larger than what was asked for.
const STEPS: usize = 8;
const CLASSES: usize = (MOST.ilog2() - LEAST_BITS + 1) as usize * STEPS;

/// Wraps an allocator, and keeps freed blocks of 256 KiB or more.
///
/// Blocks in use and blocks kept are together never more than 5/4 of what was in use at most at one time; what is kept
/// beyond that is given back, the largest blocks first. Nothing is given back before: the process stays as large as it
/// was at its peak.
#[derive(Debug)]
pub struct CachingAllocator<A> {
    inner: A,
    kept: Mutex<Kept>,
}

impl<A> CachingAllocator<A> {
    /// Takes blocks from `inner`.
    pub const fn new(inner: A) -> Self {
        let kept = Kept {
            first: [ptr::null_mut(); CLASSES],
            bytes: 0,
            in_use: 0,
            peak: 0,
        };
        Self {
            inner,
            kept: Mutex::new(kept),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: GlobalAlloc> CachingAllocator<A> {
    /// A block of `class`, and whether the inner allocator made it just now.
    ///
    /// # Safety
    /// As for `make`, which gets the layout of the class.
    unsafe fn block(&self, class: Class, make: impl FnOnce(Layout) -> *mut u8) -> (*mut u8, bool) {
        let mut kept = self.lock();
        kept.in_use += class.size;
        kept.peak = kept.peak.max(kept.in_use);
        PEAK.fetch_max(IN_USE.fetch_add(class.size, Relaxed) + class.size, Relaxed);
        if let Some(block) = kept.take(class) {
            return (block, false);
        }
        while kept.in_use + kept.bytes > kept.peak + kept.peak / 4 {
            let Some((block, class)) = kept.take_largest() else {
                break;
            };
            // SAFETY: the block came from the inner allocator with this layout, and nobody has it.
            unsafe { self.inner.dealloc(block, class.layout()) };
        }
        drop(kept);
        let block = make(class.layout());
        if block.is_null() {
            self.lock().in_use -= class.size;
            IN_USE.fetch_sub(class.size, Relaxed);
        }
        (block, true)
    }
}

// SAFETY: a layout without a class is passed on as it is. One with a class gets a block of the class's layout, which
// is at least as large and as aligned; since the class follows from the layout alone, the block comes back under the
// same class. A block is handed out by the inner allocator or from a list that it was put on when it was freed, and is
// taken from that list under a lock, so nobody else has it.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CachingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            // SAFETY: the caller's promise; a class's layout is not empty.
            None => unsafe { self.inner.alloc(layout) },
            // SAFETY: as above.
            Some(class) => unsafe { self.block(class, |layout| self.inner.alloc(layout)).0 },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { self.inner.alloc_zeroed(layout) };
        };
        // SAFETY: a class's layout is not empty; a block that was kept is at least as large as the layout.
        unsafe {
            let (block, new) = self.block(class, |layout| self.inner.alloc_zeroed(layout));
            if !new {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match Class::of(layout) {
            // SAFETY: the caller's promise; without a class it was the inner allocator that got the layout.
            None => unsafe { self.inner.dealloc(block, layout) },
            Some(class) => {
                let mut kept = self.lock();
                kept.in_use -= class.size;
                IN_USE.fetch_sub(class.size, Relaxed);
                // SAFETY: the block has this class, see above, and its owner has given it up.
                unsafe { kept.put(block, class) };
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (Class::of(layout), Class::of(wanted)) {
            // SAFETY: the caller's promise; the inner allocator made the block with this layout.
            (None, None) => unsafe { self.inner.realloc(block, layout, size) },
            (Some(class), Some(same)) if class == same => block,
            // SAFETY: the caller's promise for both layouts; the blocks are different ones, and each is as large as its
            // layout says.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

/// Sizes that share their blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    index: usize,
    /// Bytes of its blocks.
    size: usize,
}

impl Class {
    /// Nothing where blocks are not kept.
    fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if !(LEAST..=MOST).contains(&size) || layout.align() > ALIGN {
            return None;
        }
        let step = 1_usize << (size.ilog2() - STEPS.ilog2());
        let size = size.next_multiple_of(step);
        let power = size.ilog2();
        let index = (power - LEAST_BITS) as usize * STEPS
            + (size - (1 << power)) / (1 << (power - STEPS.ilog2()));
        Some(Self { index, size })
    }

    fn at(index: usize) -> Self {
        let power = LEAST_BITS as usize + index / STEPS;
        Self {
            index,
            size: (1 << power) + ((index % STEPS) << power) / STEPS,
        }
    }

    fn layout(self) -> Layout {
        // SAFETY: `ALIGN` is a power of two, and a class's size at most `MOST`.
        unsafe { Layout::from_size_align_unchecked(self.size, ALIGN) }
    }
}

/// The blocks that nobody uses, as a list for each class: a block begins with the address of the next one.
#[derive(Debug)]
struct Kept {
    first: [*mut u8; CLASSES],
    /// Bytes of all blocks that are kept.
    bytes: usize,
    /// Bytes of all blocks that are in use.
    in_use: usize,
    /// The most that `in_use` ever was.
    peak: usize,
}

// SAFETY: it owns the blocks that it points to; they belong to no thread.
unsafe impl Send for Kept {}

impl Kept {
    /// # Safety
    /// The block has the size of the class, and nobody uses it.
    unsafe fn put(&mut self, block: *mut u8, class: Class) {
        // SAFETY: the block is large enough and aligned for an address, and this list's from now on.
        unsafe { block.cast::<*mut u8>().write(self.first[class.index]) };
        self.first[class.index] = block;
        self.bytes += class.size;
    }

    fn take(&mut self, class: Class) -> Option<*mut u8> {
        let block = self.first[class.index];
        if block.is_null() {
            return None;
        }
        // SAFETY: `put` wrote the next address there, and nobody has used the block since.
        self.first[class.index] = unsafe { block.cast::<*mut u8>().read() };
        self.bytes -= class.size;
        Some(block)
    }

    fn take_largest(&mut self) -> Option<(*mut u8, Class)> {
        let index = self.first.iter().rposition(|block| !block.is_null())?;
        let class = Class::at(index);
        self.take(class).map(|block| (block, class))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        alloc::System,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    const MIB: usize = 1 << 20;

    /// Counts what the system's allocator was asked for.
    #[derive(Default)]
    struct Counting {
        blocks: AtomicUsize,
        bytes: AtomicUsize,
    }

    // SAFETY: it is the system's allocator.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.blocks.fetch_add(1, Ordering::SeqCst);
            self.bytes.fetch_add(layout.size(), Ordering::SeqCst);
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.bytes.fetch_sub(layout.size(), Ordering::SeqCst);
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(block, layout) }
        }
    }

    type Allocator = CachingAllocator<Counting>;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// A block of `size` bytes, all of which are `value`.
    fn filled(allocator: &Allocator, size: usize, value: u8) -> *mut u8 {
        // SAFETY: the layout is not empty, and the block as large as it says.
        unsafe {
            let block = allocator.alloc(layout(size));
            assert!(!block.is_null() && block.cast::<u64>().is_aligned());
            block.write_bytes(value, size);
            block
        }
    }

    /// Frees a block that must be `value` all over.
    fn free(allocator: &Allocator, block: *mut u8, size: usize, value: u8) {
        // SAFETY: it came from `filled` with the same size, or from a function that gives as much.
        unsafe {
            let bytes = std::slice::from_raw_parts(block, size);
            assert!(bytes.iter().all(|byte| *byte == value));
            allocator.dealloc(block, layout(size));
        }
    }

    #[test]
    fn classes_hold_what_they_are_for() {
        let mut size = LEAST;
        while size < MOST / 2 {
            let class = Class::of(layout(size)).unwrap();
            assert!(class.size >= size && class.size - size <= size / STEPS);
            assert_eq!(Class::at(class.index), class, "{size}");
            assert!(class.index < CLASSES);
            size += size / 29 + 1;
        }
        assert!(Class::of(layout(MOST)).unwrap().index < CLASSES);
        assert_eq!(Class::of(layout(LEAST - 1)), None);
        assert_eq!(Class::of(layout(MOST + 1)), None);
        assert_eq!(Class::of(Layout::from_size_align(MIB, 4096).unwrap()), None);
    }

    #[test]
    fn the_second_step_asks_for_nothing() {
        let allocator = Allocator::new(Counting::default());
        let sizes = [MIB, 3 * MIB + 17, 300_000, MIB];
        for step in 0..3 {
            // Not quite the sizes of the first step.
            let blocks =
                sizes.map(|size| (size - step, filled(&allocator, size - step, step as u8)));
            for (size, block) in blocks {
                free(&allocator, block, size, step as u8);
            }
            assert_eq!(allocator.inner.blocks.load(Ordering::SeqCst), sizes.len());
        }
    }

    #[test]
    fn zeroed_and_grown_blocks_hold_what_they_must() {
        let allocator = Allocator::new(Counting::default());
        let block = filled(&allocator, MIB, 7);
        free(&allocator, block, MIB, 7);
        // SAFETY: the layouts are not empty; sizes follow the block.
        unsafe {
            let zeroed = allocator.alloc_zeroed(layout(MIB));
            assert_eq!(zeroed, block);
            free(&allocator, zeroed, MIB, 0);

            let mut block = filled(&allocator, 1000, 5);
            let mut size = 1000;
            for larger in [2000, LEAST + 1, LEAST + 100, 2 * MIB, 300_000, 500] {
                block = allocator.realloc(block, layout(size), larger);
                let bytes = std::slice::from_raw_parts(block, size.min(larger));
                assert!(bytes.iter().all(|byte| *byte == 5), "{larger}");
                block.write_bytes(5, larger);
                size = larger;
            }
            free(&allocator, block, size, 5);
        }
    }

    #[test]
    fn what_is_held_stays_near_the_peak() {
        let allocator = Allocator::new(Counting::default());
        let mut peak = 0;
        for size in [MIB, 2 * MIB, 4 * MIB, 512 << 10, 8 * MIB, 3 * MIB] {
            let blocks = [(); 8].map(|()| filled(&allocator, size, 1));
            peak = peak.max(8 * size);
            let held = allocator.inner.bytes.load(Ordering::SeqCst);
            assert!(held <= peak + peak / 4, "{held} of {peak}");
            blocks
                .into_iter()
                .for_each(|block| free(&allocator, block, size, 1));
        }
    }

    #[test]
    fn threads_never_share_a_block() {
        let allocator = Allocator::new(Counting::default());
        thread::scope(|scope| {
            for number in 1..5_u8 {
                let allocator = &allocator;
                scope.spawn(move || {
                    for round in 0..30 {
                        let sizes = [LEAST + round * 4096, LEAST, 2 * LEAST];
                        let blocks = sizes.map(|size| (size, filled(allocator, size, number)));
                        for (size, block) in blocks {
                            free(allocator, block, size, number);
                        }
                    }
                });
            }
        });
    }
}
