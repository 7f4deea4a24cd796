//! What steps need in memory.

/// The most bytes that steps needed.
///
/// The first step is left out where there are others: what it allocates once and for all, as kernels do in a process and an
/// optimizer in a training, would make the first of several trainings look as if it needed more than the same one after others.
#[derive(Debug, Default)]
pub(super) struct MostBytes {
    first: Option<usize>,
    later: Option<usize>,
}

impl MostBytes {
    pub(super) fn add(&mut self, bytes: usize) {
        if self.first.is_none() {
            self.first = Some(bytes);
        } else {
            self.later = self.later.max(Some(bytes));
        }
    }

    pub(super) fn get(&self) -> usize {
        self.later.or(self.first).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_counts_only_where_there_is_no_other() {
        let mut most = MostBytes::default();
        assert_eq!(most.get(), 0);
        for (bytes, expected) in [(9, 9), (3, 3), (5, 5), (4, 5)] {
            most.add(bytes);
            assert_eq!(most.get(), expected);
        }
    }
}
