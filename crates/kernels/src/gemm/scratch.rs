//! Memory that the kernels use again and again.

use std::{cell::RefCell, marker::PhantomData, ops::Range};

use crate::Element;

/// What memory is for: two purposes can be served at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The padded copy of a map.
    Map,
    /// A packed right operand.
    Panels,
    /// Transformed weights.
    Weights,
    /// The parts of a sum.
    Parts,
    /// The sums of a task.
    Sums,
    /// The blocks that a task gathers.
    Blocks,
}

/// Calls `work` with at least `words` words of memory of this thread, whatever is in them. The memory is kept for the next
/// call; where it is in use already (a kernel within a kernel), a fresh one is made.
pub(crate) fn with_words<R>(
    purpose: Purpose,
    words: usize,
    work: impl FnOnce(&mut [f32]) -> R,
) -> R {
    thread_local! {
        static KEPT: [RefCell<Vec<f32>>; 6] = const { [const { RefCell::new(Vec::new()) }; 6] };
    }
    KEPT.with(|kept| match kept[purpose as usize].try_borrow_mut() {
        Ok(mut memory) => {
            if memory.len() < words {
                // Nothing in it is of use any more, so nothing has to be copied.
                *memory = Vec::new();
                *memory = vec![0.0; words];
            }
            work(&mut memory[..words])
        }
        Err(_) => work(&mut vec![0.0; words]),
    })
}

/// Words as the elements that they are made of.
pub(crate) fn elements_of_mut<T: Element>(words: &mut [f32]) -> &mut [T] {
    // SAFETY: `Element` is sealed: `f32` and `bf16`, for which every pattern of bits is valid, as it is for the `f32` that
    // is read back; their alignment is no larger and `PER_WORD` of them fill a word.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * T::PER_WORD) }
}

/// A slice that several threads write to, each at places of its own.
#[derive(Debug)]
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose users promise, see `part`, not to be at the same place at once.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            slice: PhantomData,
        }
    }

    /// The slice, when all are done with it.
    pub(crate) fn into_slice(self) -> &'a mut [T] {
        // SAFETY: the slice was borrowed for `'a`; parts borrow from `self`, which is gone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// While it lives, nobody else has a part that shares an element with it.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.length,
            "a part of the slice"
        );
        // SAFETY: it lies within the slice, which is borrowed for `'a`; the caller keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
