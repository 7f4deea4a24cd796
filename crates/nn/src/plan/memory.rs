//! What a plan's steps read and fill.

use strata_kernels::Element;

/// What a pass works in.
#[derive(Debug)]
pub(super) struct Memory<'a, T> {
    /// The caller's rows.
    pub(super) input: &'a [f32],
    pub(super) rows: Slots<'a, f32>,
    pub(super) maps: Slots<'a, T>,
}

/// A buffer, and the numbers of one row that lie in it at some step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) index: usize,
    pub(super) len: usize,
}

/// Buffers of one format.
#[derive(Debug)]
pub(super) struct Slots<'a, E> {
    buffers: &'a mut [Vec<E>],
    /// A buffer that was not filled, and the caller's numbers that stand for its own.
    lent: Option<(usize, &'a [E])>,
}

impl<'a, E: Element> Slots<'a, E> {
    /// As many buffers as `lens`, which are the most numbers of a row in each, with room for `count` rows.
    pub(super) fn new(buffers: &'a mut Vec<Vec<E>>, lens: &[usize], count: usize) -> Self {
        if buffers.len() < lens.len() {
            buffers.resize_with(lens.len(), Vec::new);
        }
        for (buffer, len) in buffers.iter_mut().zip(lens) {
            if buffer.len() < len * count {
                buffer.resize(len * count, E::default());
            }
        }
        Self {
            buffers,
            lent: None,
        }
    }

    /// What `count` rows have in a buffer.
    pub(super) fn part(&self, slot: Slot, count: usize) -> &[E] {
        match self.lent {
            Some((index, numbers)) if index == slot.index => &numbers[..slot.len * count],
            _ => &self.buffers[slot.index][..slot.len * count],
        }
    }

    /// Runs `write` on the other buffers, and on the part of this one that `count` rows fill.
    pub(super) fn fill(&mut self, to: Slot, count: usize, write: impl FnOnce(&Self, &mut [E])) {
        self.lent.take_if(|(index, _)| *index == to.index);
        let mut buffer = std::mem::take(&mut self.buffers[to.index]);
        write(self, &mut buffer[..to.len * count]);
        self.buffers[to.index] = buffer;
    }

    /// Lets numbers stand for a buffer's until it is filled.
    pub(super) fn lend(&mut self, to: Slot, numbers: &'a [E]) {
        self.lent = Some((to.index, numbers));
    }

    /// The buffer itself, with what `count` rows have in it.
    pub(super) fn own(&mut self, slot: Slot, count: usize) -> &mut [E] {
        if let Some((_, numbers)) = self.lent.take_if(|(index, _)| *index == slot.index) {
            let numbers = &numbers[..slot.len * count];
            self.buffers[slot.index][..numbers.len()].copy_from_slice(numbers);
        }
        &mut self.buffers[slot.index]
    }
}
