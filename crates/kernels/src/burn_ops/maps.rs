use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor},
    tensor::Tensor,
};
use burn_autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn_flex::FlexTensor;

use super::{
    flex::{contiguous, room, shape, tensor, values, with_element},
    tape::{Tracked, record},
};
use crate::{Format, bf16};

/// Rows of images `[images, channels * height * width]` as maps in the given format.
///
/// # Panics
/// The rows are not as long as the shape says.
pub fn rows_to_maps(
    rows: Tensor<2>,
    channels: usize,
    [height, width]: [usize; 2],
    format: Format,
) -> Tensor<4> {
    let maps = Dispatch::rows_to_maps(rows.into_dispatch(), channels, height, width, format);
    Tensor::from_dispatch(maps)
}

/// Maps as rows of images `[images, channels * height * width]`, in `f32`.
pub fn maps_to_rows(maps: Tensor<4>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::maps_to_rows(maps.into_dispatch()))
}

#[backend_extension(Flex, Autodiff)]
trait MapOps: Backend {
    fn rows_to_maps(
        rows: FloatTensor<Self>,
        channels: usize,
        height: usize,
        width: usize,
        format: Format,
    ) -> FloatTensor<Self>;

    fn maps_to_rows(maps: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl MapOps for Flex {
    fn rows_to_maps(
        rows: FlexTensor,
        channels: usize,
        height: usize,
        width: usize,
        format: Format,
    ) -> FlexTensor {
        let rows = contiguous(rows);
        let [images, length] = shape(&rows);
        assert_eq!(length, channels * height * width, "rows of the shape");
        let sizes = [height, width, images, channels];
        macro_rules! to {
            ($element:ty) => {{
                let mut maps = room::<$element>(images * length);
                let size = [height, width];
                crate::rows_to_maps(channels, size, images, values(&rows), &mut maps);
                tensor(maps, &sizes)
            }};
        }
        match format {
            Format::F32 => to!(f32),
            Format::Bf16 => to!(bf16),
        }
    }

    fn maps_to_rows(maps: FlexTensor) -> FlexTensor {
        let maps = contiguous(maps);
        let [height, width, images, channels] = shape(&maps);
        let length = channels * height * width;
        let mut rows = room(images * length);
        with_element!(maps, T => {
            let size = [height, width];
            crate::maps_to_rows(channels, size, images, values::<T>(&maps), &mut rows);
        });
        tensor(rows, &[images, length])
    }
}

impl<C: CheckpointStrategy> MapOps for Autodiff<Flex, C> {
    fn rows_to_maps(
        rows: Tracked<C>,
        channels: usize,
        height: usize,
        width: usize,
        format: Format,
    ) -> Tracked<C> {
        let (rows, node) = rows.into_parts();
        let maps = Flex::rows_to_maps(rows, channels, height, width, format);
        record::<C, _, 1>(
            [node],
            maps,
            || (),
            |(), dmaps, _| [Some(Flex::maps_to_rows(dmaps))],
        )
    }

    fn maps_to_rows(maps: Tracked<C>) -> Tracked<C> {
        let (maps, node) = maps.into_parts();
        let ([height, width, _, channels], format) = (shape(&maps), super::flex::format(&maps));
        let rows = Flex::maps_to_rows(maps);
        record::<C, _, 1>(
            [node],
            rows,
            || (channels, height, width, format),
            |(channels, height, width, format), drows, _| {
                let dmaps = Flex::rows_to_maps(drows, channels, height, width, format);
                [Some(dmaps)]
            },
        )
    }
}
