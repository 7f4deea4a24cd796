use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use strata_data::{MOST_PIXELS, decode};

use super::{
    INPUT,
    answer::Output,
    data::{Data, Elements},
    infer::Waiter,
    leave::leave,
    request::{InferRequest, InputTensor, RequestParameters, RequestedOutput},
};
use crate::{
    http::Refusal,
    runtime::{Leave, Version},
};

/// A request that was read and fits the model.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: Option<String>,
    pub(crate) parameters: RequestParameters,
    pub(crate) outputs: Vec<WantedOutput>,
    pub(crate) leave: Leave,
    pub(crate) count: usize,
    pub(crate) source: Source,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedOutput {
    pub(crate) output: Output,
    pub(crate) is_binary: bool,
}

/// What the rows are made of.
#[derive(Debug)]
pub(crate) enum Source {
    /// They are there.
    Prepared(Vec<f32>),
    /// Pictures of one size, one after the other.
    Pixels {
        height: usize,
        width: usize,
        channels: usize,
        bytes: Bytes,
    },
    /// Image files.
    Encoded(Vec<Bytes>),
}

/// Bounds on the rows of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimits {
    pub(crate) rows: usize,
    /// Of all prepared rows, and of all answers: small images must not become gigabytes of large rows.
    pub(crate) bytes: usize,
}

impl Question {
    /// Reads a body: JSON, with binary tensors after its first `json_bytes` bytes if that is given.
    pub(crate) fn read(
        body: &Bytes,
        json_bytes: Option<usize>,
        version: &Version,
        limits: RowLimits,
    ) -> Result<Self, Refusal> {
        let (json, binary) = match json_bytes {
            None => (&body[..], Bytes::new()),
            Some(length) if length <= body.len() => (&body[..length], body.slice(length..)),
            Some(length) => {
                return wrong(format!(
                    "the JSON has {length} bytes by its header, but the body has {}",
                    body.len()
                ));
            }
        };
        let request: InferRequest = serde_json::from_slice(json)
            .map_err(|error| Refusal::Malformed(format!("the request's JSON: {error}")))?;
        let InferRequest {
            id,
            parameters,
            inputs,
            outputs,
        } = request;
        let parameters = parameters.unwrap_or_default();
        let is_binary = parameters.binary_data_output.unwrap_or(false);
        let outputs = wanted_outputs(outputs, is_binary, version)?;
        let input = only_input(inputs)?;
        let count = rows(&input, limits, version)?;
        let leave = leave(&parameters, version, count)?;
        let source = match input.datatype.as_str() {
            "FP32" => prepared(input, binary, count, version)?,
            "UINT8" => pixels(input, binary)?,
            "BYTES" => encoded(input, binary, count)?,
            other => {
                let other = other.escape_debug();
                return wrong(format!(
                    "input `{INPUT}`: expected datatype FP32, UINT8 or BYTES, found `{other}`"
                ));
            }
        };
        Ok(Self {
            id,
            parameters,
            outputs,
            leave,
            count,
            source,
        })
    }
}

impl Source {
    /// The prepared rows. Given up between two pictures when nobody waits for them any more.
    pub(crate) fn prepare(self, version: &Version, waiter: &Waiter) -> Result<Vec<f32>, Refusal> {
        let preparer = &version.preparer;
        let mut rows = Vec::new();
        match self {
            Self::Prepared(prepared) => return Ok(prepared),
            Self::Pixels {
                height,
                width,
                channels,
                bytes,
            } => {
                // Not zero: shapes without elements were refused.
                for picture in bytes.chunks(height * width * channels) {
                    waiter.check()?;
                    let row = preparer.pixels(height, width, channels, picture);
                    rows.extend(row.map_err(|error| {
                        Refusal::Malformed(format!("input `{INPUT}`: {error}"))
                    })?);
                }
            }
            Self::Encoded(files) => {
                let mut pixels = 0;
                for (index, file) in files.iter().enumerate() {
                    waiter.check()?;
                    let broken = |error| {
                        Refusal::Malformed(format!("input `{INPUT}`: row {index}: {error}"))
                    };
                    let image = decode(file).map_err(broken)?;
                    // Small files may hold large images: the body's bound is none for the work.
                    pixels += image.height * image.width;
                    if pixels > MOST_PIXELS {
                        return Err(Refusal::TooLarge {
                            what: "pixels in all files",
                            limit: MOST_PIXELS,
                        });
                    }
                    let (height, width) = (image.height, image.width);
                    let row = preparer.pixels(height, width, image.channels, &image.pixels);
                    rows.extend(row.map_err(broken)?);
                }
            }
        }
        Ok(rows)
    }
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Malformed(problem.into()))
}

fn wanted_outputs(
    asked: Option<Vec<RequestedOutput>>,
    binary: bool,
    version: &Version,
) -> Result<Vec<WantedOutput>, Refusal> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        let all = Output::all(version).map(|output| WantedOutput {
            output,
            is_binary: binary,
        });
        return Ok(all.collect());
    };
    let mut wanted: Vec<WantedOutput> = Vec::with_capacity(asked.len());
    for RequestedOutput { name, parameters } in asked {
        let Some(output) = Output::all(version).find(|output| output.name(version) == name) else {
            let known: Vec<_> = Output::all(version)
                .map(|output| output.name(version))
                .collect();
            return wrong(format!(
                "no output `{}`: expected one of {}",
                name.escape_debug(),
                known.join(", ")
            ));
        };
        if wanted.iter().any(|other| other.output == output) {
            return wrong(format!("output `{name}` is asked for twice"));
        }
        let parameters = parameters.as_ref();
        if parameters
            .is_some_and(|p| p.classification.is_some() || p.shared_memory_region.is_some())
        {
            return wrong(format!(
                "output `{name}`: classification and shared memory are not supported"
            ));
        }
        let is_binary = parameters.and_then(|p| p.binary_data).unwrap_or(binary);
        wanted.push(WantedOutput { output, is_binary });
    }
    Ok(wanted)
}

fn only_input(inputs: Vec<InputTensor>) -> Result<InputTensor, Refusal> {
    let count = inputs.len();
    let (Some(input), 1) = (inputs.into_iter().next(), count) else {
        return wrong(format!("expected one input, `{INPUT}`, found {count}"));
    };
    if input.name != INPUT {
        return wrong(format!(
            "no input `{}`: expected `{INPUT}`",
            input.name.escape_debug()
        ));
    }
    if input
        .parameters
        .as_ref()
        .is_some_and(|p| p.shared_memory_region.is_some())
    {
        return wrong(format!("input `{INPUT}`: shared memory is not supported"));
    }
    Ok(input)
}

/// The number of rows; one at least.
fn rows(input: &InputTensor, limits: RowLimits, version: &Version) -> Result<usize, Refusal> {
    let count = input.shape.first().copied().unwrap_or(0);
    if count == 0 || elements(input)? == 0 {
        return wrong(format!(
            "input `{INPUT}`: shape {:?} holds nothing",
            input.shape
        ));
    }
    if count > limits.rows {
        return Err(Refusal::TooLarge {
            what: "rows",
            limit: limits.rows,
        });
    }
    let others = version.others.iter().map(|task| task.labels.len());
    let answer = version.labels.len() + others.sum::<usize>();
    let longest = version.row_len().max(answer);
    if count.saturating_mul(longest * size_of::<f32>()) > limits.bytes {
        return Err(Refusal::TooLarge {
            what: "bytes of prepared rows or of answers",
            limit: limits.bytes,
        });
    }
    Ok(count)
}

fn elements(input: &InputTensor) -> Result<usize, Refusal> {
    let product = input
        .shape
        .iter()
        .try_fold(1, |product: usize, &side| product.checked_mul(side));
    product.map_or_else(
        || {
            wrong(format!(
                "input `{INPUT}`: shape {:?} is too large",
                input.shape
            ))
        },
        Ok,
    )
}

fn prepared(
    input: InputTensor,
    binary: Bytes,
    count: usize,
    version: &Version,
) -> Result<Source, Refusal> {
    let row = &input.shape[1..];
    if row != version.shape && row != [version.row_len()] {
        let shape = &version.shape;
        let sides = shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return wrong(format!(
            "input `{INPUT}`: expected FP32 of shape [{count}, {sides}] or [{count}, {}], found {:?}",
            version.row_len(),
            input.shape
        ));
    }
    let numbers = match tensor(&input, binary, size_of::<f32>())? {
        Tensor::Binary(bytes) => {
            let (chunks, _) = bytes.as_chunks();
            chunks
                .iter()
                .map(|chunk| f32::from_le_bytes(*chunk))
                .collect()
        }
        Tensor::Json => numbers(input.data)?,
    };
    if !numbers.iter().all(|number: &f32| number.is_finite()) {
        return wrong(format!(
            "input `{INPUT}`: holds a number that is not finite"
        ));
    }
    Ok(Source::Prepared(numbers))
}

fn pixels(input: InputTensor, binary: Bytes) -> Result<Source, Refusal> {
    let [_, height, width, channels] = input.shape[..] else {
        return wrong(format!(
            "input `{INPUT}`: expected UINT8 of shape [rows, height, width, channels], found {:?}",
            input.shape
        ));
    };
    let bytes = match tensor(&input, binary, 1)? {
        Tensor::Binary(bytes) => bytes,
        Tensor::Json => {
            let numbers = numbers(input.data)?;
            let is_pixel = |number: &f32| (0.0..=255.0).contains(number) && number.fract() == 0.0;
            if !numbers.iter().all(is_pixel) {
                return wrong(format!(
                    "input `{INPUT}`: holds a number that is no integer from 0 to 255"
                ));
            }
            numbers
                .iter()
                .map(|number| *number as u8)
                .collect::<Vec<u8>>()
                .into()
        }
    };
    Ok(Source::Pixels {
        height,
        width,
        channels,
        bytes,
    })
}

fn encoded(input: InputTensor, binary: Bytes, count: usize) -> Result<Source, Refusal> {
    if !matches!(input.shape[..], [_] | [_, 1]) {
        return wrong(format!(
            "input `{INPUT}`: expected BYTES of shape [rows], found {:?}",
            input.shape
        ));
    }
    if let Tensor::Binary(bytes) = tensor(&input, binary, 0)? {
        return Ok(Source::Encoded(split(bytes, count)?));
    }
    let Some(Data {
        elements: Elements::Texts(texts),
        ..
    }) = input.data
    else {
        return wrong(format!(
            "input `{INPUT}`: expected base64 texts, found numbers"
        ));
    };
    let decode = |(index, text): (usize, &String)| {
        let bytes = BASE64_STANDARD.decode(text);
        bytes
            .map(Bytes::from)
            .map_err(|error| Refusal::Malformed(format!("input `{INPUT}`: row {index}: {error}")))
    };
    let files: Result<_, _> = texts.iter().enumerate().map(decode).collect();
    Ok(Source::Encoded(files?))
}

enum Tensor {
    Binary(Bytes),
    /// Its data has as many elements as the shape says, and is nested as the shape says or flat.
    Json,
}

/// Finds where the elements are, and checks how many there are. `size` is that of an element in bytes, 0
/// if they differ.
fn tensor(input: &InputTensor, binary: Bytes, size: usize) -> Result<Tensor, Refusal> {
    let expected = elements(input)?;
    let said = input
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.binary_data_size);
    match (said, &input.data) {
        (Some(_), Some(_)) => wrong(format!(
            "input `{INPUT}`: has both `data` and `binary_data_size`"
        )),
        (None, None) => wrong(format!("input `{INPUT}`: has no `data`")),
        (Some(said), None) => {
            let bytes = expected.saturating_mul(size);
            if said != binary.len() {
                return wrong(format!(
                    "input `{INPUT}`: binary_data_size is {said}, but {} bytes follow the JSON",
                    binary.len()
                ));
            }
            if size > 0 && said != bytes {
                return wrong(format!(
                    "input `{INPUT}`: its shape takes {bytes} bytes, found {said}"
                ));
            }
            Ok(Tensor::Binary(binary))
        }
        (None, Some(data)) => {
            if !binary.is_empty() {
                return wrong(format!(
                    "{} bytes follow the JSON, but no input is binary",
                    binary.len()
                ));
            }
            if data.shape != input.shape && data.shape != [expected] {
                return wrong(format!(
                    "input `{INPUT}`: its shape {:?} holds {expected} elements, but its data has shape {:?}",
                    input.shape, data.shape
                ));
            }
            Ok(Tensor::Json)
        }
    }
}

fn numbers(data: Option<Data>) -> Result<Vec<f32>, Refusal> {
    match data {
        Some(Data {
            elements: Elements::Numbers(numbers),
            ..
        }) => Ok(numbers),
        _ => wrong(format!("input `{INPUT}`: expected numbers, found texts")),
    }
}

/// Takes `count` elements apart, each after its length in 4 little-endian bytes.
fn split(mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, Refusal> {
    let mut files = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > rest.len() {
            return wrong(format!(
                "input `{INPUT}`: row {}: {length} bytes are said, {} left",
                files.len(),
                rest.len()
            ));
        }
        let mut rest = bytes.split_off(4);
        files.push(rest.split_to(length));
        bytes = rest;
    }
    if !bytes.is_empty() || files.len() != count {
        return wrong(format!(
            "input `{INPUT}`: its shape says {count} rows, found {}",
            files.len()
        ));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    const LIMITS: RowLimits = RowLimits {
        rows: 64,
        bytes: 1 << 20,
    };

    const LONG: Duration = Duration::from_secs(600);

    fn png(side: u32) -> Bytes {
        let mut file = Vec::new();
        let pixels = vec![0; (side * side) as usize];
        PngEncoder::new(&mut file)
            .write_image(&pixels, side, side, ExtendedColorType::L8)
            .unwrap();
        file.into()
    }

    #[test]
    fn rows_that_nobody_waits_for_are_not_prepared() {
        let version = testing::version(1);
        let pixels = || Source::Pixels {
            height: 1,
            width: 1,
            channels: 1,
            bytes: Bytes::from_static(&[0; 4]),
        };
        let files = || Source::Encoded(vec![png(1); 4]);
        let check = |waiter: &Waiter, is_prepared: bool| {
            for source in [pixels(), files()] {
                match source.prepare(&version, waiter) {
                    Ok(rows) => assert!(is_prepared && rows.len() == 4 * testing::ROW),
                    Err(refusal) => {
                        assert!(!is_prepared && matches!(refusal, Refusal::Overdue));
                    }
                }
            }
        };
        let request = Arc::new(());
        let waiter = Waiter::of(&request, Instant::now() + LONG);
        check(&waiter, true);
        drop(request);
        check(&waiter, false);
        let request = Arc::new(());
        check(&Waiter::of(&request, Instant::now()), false);
    }

    #[test]
    fn files_have_a_bound_on_all_their_pixels() {
        let version = testing::version(1);
        let request = Arc::new(());
        let waiter = Waiter::of(&request, Instant::now() + LONG);
        // Four are as many as one may have.
        let file = png(2896);
        let prepare = |count| Source::Encoded(vec![file.clone(); count]).prepare(&version, &waiter);
        assert_eq!(prepare(4).unwrap().len(), 4 * testing::ROW);
        let refusal = prepare(5).unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { .. }), "{refusal}");
    }

    /// Reads and prepares; whatever the body, that must end with rows of numbers or with a refusal.
    fn check(body: Vec<u8>, json_bytes: Option<usize>) {
        let version = testing::version(1);
        let request = Arc::new(());
        let waiter = Waiter::of(&request, Instant::now() + LONG);
        let question = Question::read(&body.into(), json_bytes, &version, LIMITS);
        if let Ok(Question { count, source, .. }) = question
            && let Ok(rows) = source.prepare(&version, &waiter)
        {
            assert_eq!(rows.len(), count * testing::ROW);
            assert!(rows.iter().all(|number| number.is_finite()));
        }
    }

    fn tensor() -> impl Strategy<Value = String> {
        let datatype = prop_oneof![Just("FP32"), Just("UINT8"), Just("BYTES")];
        let side = prop_oneof![0..5_usize, Just(16), Just(usize::MAX)];
        let shape = prop::collection::vec(side, 0..5);
        let data = prop_oneof![
            prop::collection::vec(0..300_i32, 0..40)
                .prop_map(|data| format!(r#","data":{data:?}"#)),
            prop::collection::vec("[A-Za-z0-9+/=]{0,8}", 0..3)
                .prop_map(|data| format!(r#","data":{data:?}"#)),
            (0..80_usize)
                .prop_map(|size| format!(r#","parameters":{{"binary_data_size":{size}}}"#)),
        ];
        (datatype, shape, data).prop_map(|(datatype, shape, data)| {
            format!(r#"{{"inputs":[{{"name":"image","datatype":"{datatype}","shape":{shape:?}{data}}}]}}"#)
        })
    }

    proptest! {
        #[test]
        fn any_tensor_is_read_or_refused(
            json in tensor(),
            binary in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let length = json.len();
            check([json.into_bytes(), binary].concat(), Some(length));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            json in tensor(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            length in prop::option::of(any::<usize>()),
        ) {
            let mut body = json.into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            check(body, length);
        }
    }
}
