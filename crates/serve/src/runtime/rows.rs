use std::ops::Deref;

use bytes::Bytes;

/// Prepared rows, one after the other: numbers of their own, or those that lie in a request's body just as they do in memory.
#[derive(Clone, Debug)]
pub(crate) struct Rows(Numbers);

#[derive(Clone, Debug)]
enum Numbers {
    Own(Vec<f32>),
    /// Whole numbers, in this machine's order and at places where it can read them.
    InBody(Bytes),
}

/// Fewer bytes are copied sooner than what else arrives on their connection is kept from its place.
const WORTH_KEEPING: usize = 64 << 10;

impl Rows {
    /// Little-endian numbers where they lie; none if they have to be copied, or are few.
    pub(crate) fn in_body(bytes: &Bytes) -> Option<Self> {
        let is_ours =
            cfg!(target_endian = "little") && bytemuck::try_cast_slice::<u8, f32>(bytes).is_ok();
        (is_ours && bytes.len() >= WORTH_KEEPING).then(|| Self(Numbers::InBody(bytes.clone())))
    }
}

impl Deref for Rows {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Numbers::Own(numbers) => numbers,
            Numbers::InBody(bytes) => bytemuck::cast_slice(bytes),
        }
    }
}

impl From<Vec<f32>> for Rows {
    fn from(numbers: Vec<f32>) -> Self {
        Self(Numbers::Own(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_where_they_lie() {
        let numbers: Vec<f32> = (0..WORTH_KEEPING).map(|number| number as f32).collect();
        let all: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let all = Bytes::from(all);
        let first = all.as_ptr().align_offset(align_of::<f32>());
        let at = |offset: usize| all.slice(first + offset..first + offset + WORTH_KEEPING);
        let aligned = at(0);
        let rows = Rows::in_body(&aligned).unwrap();
        assert_eq!(rows.as_ptr().cast(), aligned.as_ptr());
        let (chunks, _) = aligned.as_chunks();
        let expected: Vec<_> = chunks
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect();
        assert_eq!(*rows, expected);
        // At a place where no number may be, a part of a number, and few.
        assert!(Rows::in_body(&at(1)).is_none());
        assert!(Rows::in_body(&aligned.slice(..WORTH_KEEPING - 1)).is_none());
        assert!(Rows::in_body(&aligned.slice(..WORTH_KEEPING - 4)).is_none());
    }
}
