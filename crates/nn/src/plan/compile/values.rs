//! What layers give, and the buffers that it lies in.

use strata_kernels::Element;

use super::{
    super::{
        memory::Slot,
        steps::{MapShape, Source, Step},
    },
    Compiler,
};

/// What a layer gives. Its buffer is in use until every holder has released it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Rows(Source),
    Maps(Slot),
}

/// Buffers of one kind: how long each is, and how many hold what is in it.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) lens: Vec<usize>,
    holders: Vec<usize>,
}

impl Buffers {
    /// A buffer that nobody holds, made long enough: the shortest that is, or else the longest.
    pub(super) fn take(&mut self, len: usize) -> Slot {
        let free = (0..self.lens.len()).filter(|index| self.holders[*index] == 0);
        let index = free.min_by_key(|index| {
            let have = self.lens[*index];
            if have >= len {
                (false, have)
            } else {
                (true, usize::MAX - have)
            }
        });
        let index = index.unwrap_or_else(|| {
            self.lens.push(0);
            self.holders.push(0);
            self.lens.len() - 1
        });
        self.lens[index] = self.lens[index].max(len);
        self.holders[index] = 1;
        Slot { index, len }
    }
}

impl<T: Element> Compiler<'_, T> {
    /// As maps if a row has the shape of one, else as rows.
    pub(super) fn as_layers_take_it(&mut self, x: Value, shape: &[usize]) -> Value {
        if shape.len() == 3 {
            Value::Maps(self.maps_of(x, shape).1)
        } else {
            x
        }
    }

    pub(super) fn maps_of(&mut self, x: Value, shape: &[usize]) -> (MapShape, Slot) {
        let shape = map_shape(shape);
        match x {
            Value::Maps(slot) => (shape, slot),
            Value::Rows(from) => {
                let to = self
                    .maps
                    .take(shape.channels * shape.size[0] * shape.size[1]);
                self.steps.push(Step::RowsToMaps { shape, from, to });
                self.release(x);
                (shape, to)
            }
        }
    }

    pub(super) fn rows_of(&mut self, x: Value, shape: &[usize]) -> Value {
        let Value::Maps(from) = x else {
            return x;
        };
        let to = self.rows.take(from.len);
        self.steps.push(Step::MapsToRows {
            shape: map_shape(shape),
            from,
            to,
        });
        self.release(x);
        Value::Rows(Source::Buffer(to))
    }

    pub(super) fn source(&mut self, x: Value, shape: &[usize]) -> Source {
        match self.rows_of(x, shape) {
            Value::Rows(source) => source,
            Value::Maps(_) => unreachable!("rows were asked for"),
        }
    }

    /// Rows in a buffer, the caller's too.
    pub(super) fn loaded(&mut self, source: Source) -> Slot {
        match source {
            Source::Buffer(slot) => slot,
            Source::Input(len) => {
                let to = self.rows.take(len);
                self.steps.push(Step::Load { to });
                to
            }
        }
    }

    pub(super) fn hold(&mut self, value: Value) {
        match value {
            Value::Maps(slot) => self.maps.holders[slot.index] += 1,
            Value::Rows(Source::Buffer(slot)) => self.rows.holders[slot.index] += 1,
            Value::Rows(Source::Input(_)) => {}
        }
    }

    pub(super) fn release(&mut self, value: Value) {
        match value {
            Value::Maps(slot) => self.maps.holders[slot.index] -= 1,
            Value::Rows(Source::Buffer(slot)) => self.rows.holders[slot.index] -= 1,
            Value::Rows(Source::Input(_)) => {}
        }
    }
}

fn map_shape(shape: &[usize]) -> MapShape {
    let &[channels, height, width] = shape else {
        unreachable!("checked levels: {shape:?} are no maps");
    };
    MapShape {
        channels,
        size: [height, width],
    }
}
