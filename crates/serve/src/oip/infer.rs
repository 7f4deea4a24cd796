use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{HEADER_LENGTH, answer, lift, request::raw_request};
use crate::{
    http::{Asked, Refusal, Response, State, json, object},
    infer::{Question, RowLimits, infer as run},
    runtime::Version,
};

/// `POST …/infer`
pub(crate) async fn infer(state: &State, asked: Asked) -> Result<Response, Refusal> {
    let Asked {
        routed,
        json_bytes,
        body,
        deadline,
    } = asked;
    let bytes = body.bytes.clone();
    let parse =
        move |version: &Version, limits: RowLimits| question(&bytes, json_bytes, version, limits);
    let length = body.bytes.len();
    let body = run(state, &routed, length, deadline, parse, answer::write).await?;
    let mut response = json(body.bytes);
    if let Some(length) = body.json {
        let headers = response.headers_mut();
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
    }
    Ok(response)
}

/// Reads a body: JSON, with binary tensors after its first `json_bytes` bytes if that is given; if it is 0, one raw tensor.
pub(crate) fn question(
    body: &Bytes,
    json_bytes: Option<usize>,
    version: &Version,
    limits: RowLimits,
) -> Result<Question, Refusal> {
    let (json, binary) = match json_bytes {
        None => (&body[..], Bytes::new()),
        Some(0) => return Question::new(raw_request(body.clone(), version)?, version, limits),
        Some(length) if length <= body.len() => (&body[..length], body.slice(length..)),
        Some(length) => {
            return Err(Refusal::Malformed(format!(
                "the JSON has {length} bytes by its header, but the body has {}",
                body.len()
            )));
        }
    };
    let request = lift::read(json).map_or_else(|| object(json), Ok)?;
    Question::new(request.with_binary(binary)?, version, limits)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{infer::Waiter, testing};

    const LIMITS: RowLimits = RowLimits {
        rows: 64,
        bytes: 1 << 20,
    };

    const LONG: Duration = Duration::from_secs(600);

    /// Reads and prepares; whatever the body, that must end with rows of numbers or with a refusal.
    fn check(body: Vec<u8>, json_bytes: Option<usize>) {
        let version = testing::version(1);
        let request = Arc::new(());
        let waiter = Waiter::of(&request, Instant::now() + LONG);
        let question = super::question(&body.into(), json_bytes, &version, LIMITS);
        if let Ok(Question { count, source, .. }) = question
            && let Ok(rows) = source.prepare(&version, &waiter)
        {
            assert_eq!(rows.len(), count * testing::ROW);
            assert!(rows.iter().all(|number| number.is_finite()));
        }
    }

    fn tensor() -> impl Strategy<Value = String> {
        let datatype = prop_oneof![
            Just("FP32"),
            Just("FP64"),
            Just("FP16"),
            Just("BF16"),
            Just("UINT8"),
            Just("BYTES")
        ];
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
