use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use half::{bf16, f16};

use super::{
    Content, INPUT, Output, Parameters, Request, RequestedOutput, Source, Tensor, leave::leave,
};
use crate::{
    http::Refusal,
    runtime::{Leave, Rows, Version},
};

/// A request that fits the model.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: Option<String>,
    pub(crate) parameters: Parameters,
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

/// Bounds on the rows of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimits {
    pub(crate) rows: usize,
    /// Of all prepared rows, and of all answers: small images must not become gigabytes of large rows.
    pub(crate) bytes: usize,
}

impl Question {
    /// Holds a request against the model.
    pub(crate) fn new(
        request: Request,
        version: &Version,
        limits: RowLimits,
    ) -> Result<Self, Refusal> {
        let Request {
            id,
            parameters,
            inputs,
            outputs,
        } = request;
        let is_binary = parameters.binary_data_output.unwrap_or(false);
        let outputs = wanted_outputs(outputs, is_binary, version)?;
        let input = only_input(inputs)?;
        let count = rows(&input, limits, version)?;
        let leave = leave(&parameters, version, count)?;
        let source = match input.datatype.as_str() {
            "FP32" => prepared(input, version, &RAW_FP32)?,
            "FP64" => prepared(input, version, &RAW_FP64)?,
            "FP16" => prepared(only_raw(input)?, version, &RAW_FP16)?,
            "BF16" => prepared(only_raw(input)?, version, &RAW_BF16)?,
            "UINT8" => pixels(input)?,
            "BYTES" => encoded(input, count)?,
            other => {
                let other = other.escape_debug();
                return wrong(format!(
                    "input `{INPUT}`: expected datatype FP32, FP64, FP16, BF16, UINT8 or BYTES, found `{other}`"
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

fn wrong<T>(problem: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Malformed(problem.into()))
}

fn wanted_outputs(
    asked: Vec<RequestedOutput>,
    binary: bool,
    version: &Version,
) -> Result<Vec<WantedOutput>, Refusal> {
    if asked.is_empty() {
        let all = Output::all(version).map(|output| WantedOutput {
            output,
            is_binary: binary,
        });
        return Ok(all.collect());
    }
    let mut wanted: Vec<WantedOutput> = Vec::with_capacity(asked.len());
    for RequestedOutput {
        name,
        is_binary,
        is_special,
    } in asked
    {
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
        if is_special {
            return wrong(format!(
                "output `{name}`: classification and shared memory are not supported"
            ));
        }
        let is_binary = is_binary.unwrap_or(binary);
        wanted.push(WantedOutput { output, is_binary });
    }
    Ok(wanted)
}

fn only_input(inputs: Vec<Tensor>) -> Result<Tensor, Refusal> {
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
    if let Content::SharedMemory = input.content {
        return wrong(format!("input `{INPUT}`: shared memory is not supported"));
    }
    Ok(input)
}

/// The number of rows; one at least.
fn rows(input: &Tensor, limits: RowLimits, version: &Version) -> Result<usize, Refusal> {
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

fn elements(input: &Tensor) -> Result<usize, Refusal> {
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

/// The raw form of numbers.
struct RawForm {
    /// The size of an element in bytes.
    size: usize,
    /// Whether rows in memory have it, too.
    is_of_rows: bool,
    /// Makes numbers of elements, behind those that are there.
    read: fn(&[u8], &mut Vec<f32>),
}

const RAW_FP32: RawForm = RawForm {
    size: 4,
    is_of_rows: true,
    read: |bytes, numbers| read_each(bytes, numbers, f32::from_le_bytes),
};

const RAW_FP64: RawForm = RawForm {
    size: 8,
    is_of_rows: false,
    read: |bytes, numbers| read_each(bytes, numbers, |bytes| f64::from_le_bytes(bytes) as f32),
};

const RAW_FP16: RawForm = RawForm {
    size: 2,
    is_of_rows: false,
    read: |bytes, numbers| read_each(bytes, numbers, |bytes| f16::from_le_bytes(bytes).to_f32()),
};

const RAW_BF16: RawForm = RawForm {
    size: 2,
    is_of_rows: false,
    read: |bytes, numbers| read_each(bytes, numbers, |bytes| bf16::from_le_bytes(bytes).to_f32()),
};

fn read_each<const N: usize>(bytes: &[u8], numbers: &mut Vec<f32>, read: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks();
    numbers.extend(chunks.iter().map(|chunk| read(*chunk)));
}

/// Numbers that are read and looked at together: they lie in a first-level cache then.
const TOGETHER: usize = 2048;

/// The numbers, if all are finite.
fn finite(content: Content, form: &RawForm) -> Result<Option<Rows>, Refusal> {
    let bytes = match content {
        Content::Raw(bytes) => bytes,
        content => {
            let all = numbers(content)?;
            return Ok(are_finite(&all).then(|| all.into()));
        }
    };
    if form.is_of_rows
        && let Some(rows) = Rows::in_body(&bytes)
    {
        return Ok(are_finite(&rows).then_some(rows));
    }
    let mut numbers = Vec::with_capacity(bytes.len() / form.size);
    for part in bytes.chunks(TOGETHER * form.size) {
        let before = numbers.len();
        (form.read)(part, &mut numbers);
        if !are_finite(&numbers[before..]) {
            return Ok(None);
        }
    }
    Ok(Some(numbers.into()))
}

/// Looks at many at once, which a search for the first that is not finite could not.
fn are_finite(numbers: &[f32]) -> bool {
    let are_finite = |part: &[f32]| {
        part.iter()
            .fold(true, |all, number| all & number.is_finite())
    };
    numbers.chunks(TOGETHER).all(are_finite)
}

/// Refuses what has no form but the raw one.
fn only_raw(input: Tensor) -> Result<Tensor, Refusal> {
    match input.content {
        Content::Raw(_) | Content::Missing => Ok(input),
        _ => wrong(format!(
            "input `{INPUT}`: {} is always raw (binary), found numbers one by one",
            input.datatype
        )),
    }
}

fn prepared(input: Tensor, version: &Version, raw_form: &RawForm) -> Result<Source, Refusal> {
    let row = &input.shape[1..];
    if row != version.shape && row != [version.row_len()] {
        let (count, shape) = (input.shape[0], &version.shape);
        let sides = shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        return wrong(format!(
            "input `{INPUT}`: expected {} of shape [{count}, {sides}] or [{count}, {}], found {:?}",
            input.datatype,
            version.row_len(),
            input.shape
        ));
    }
    check_size(&input, raw_form.size)?;
    match finite(input.content, raw_form)? {
        Some(numbers) => Ok(Source::Prepared(numbers)),
        None => wrong(format!(
            "input `{INPUT}`: holds a number that is not finite"
        )),
    }
}

fn pixels(input: Tensor) -> Result<Source, Refusal> {
    let [_, height, width, channels] = input.shape[..] else {
        return wrong(format!(
            "input `{INPUT}`: expected UINT8 of shape [rows, height, width, channels], found {:?}",
            input.shape
        ));
    };
    check_size(&input, 1)?;
    let bytes = match input.content {
        Content::Raw(bytes) => bytes,
        content => {
            let numbers = numbers(content)?;
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

fn encoded(input: Tensor, count: usize) -> Result<Source, Refusal> {
    if !matches!(input.shape[..], [_] | [_, 1]) {
        return wrong(format!(
            "input `{INPUT}`: expected BYTES of shape [rows], found {:?}",
            input.shape
        ));
    }
    check_size(&input, 0)?;
    let texts = match input.content {
        Content::Raw(bytes) => return Ok(Source::Encoded(split(bytes, count)?)),
        Content::Files(files) => return Ok(Source::Encoded(files)),
        Content::Base64(texts, _) => texts,
        _ => {
            return wrong(format!(
                "input `{INPUT}`: expected base64 texts, found numbers"
            ));
        }
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

/// Checks how many elements there are. `size` is that of an element in bytes, 0 if they differ.
fn check_size(input: &Tensor, size: usize) -> Result<(), Refusal> {
    let expected = elements(input)?;
    let nested = match &input.content {
        Content::Missing | Content::SharedMemory => {
            return wrong(format!("input `{INPUT}`: has no `data`"));
        }
        Content::Raw(bytes) => {
            let (found, expected) = (bytes.len(), expected.saturating_mul(size));
            if size > 0 && found != expected {
                return wrong(format!(
                    "input `{INPUT}`: its shape takes {expected} bytes, found {found}"
                ));
            }
            return Ok(());
        }
        Content::Numbers(_, nested) | Content::Base64(_, nested) => nested,
        Content::Files(files) => &vec![files.len()],
    };
    if *nested != input.shape && *nested != [expected] {
        return wrong(format!(
            "input `{INPUT}`: its shape {:?} holds {expected} elements, but its data has shape {nested:?}",
            input.shape
        ));
    }
    Ok(())
}

fn numbers(content: Content) -> Result<Vec<f32>, Refusal> {
    match content {
        Content::Numbers(numbers, _) => Ok(numbers),
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
