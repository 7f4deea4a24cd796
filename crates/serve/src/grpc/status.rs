use hyper::StatusCode;
use tonic::{Code, Status, metadata::MetadataValue};

use crate::http::Refusal;

/// When to try again, in milliseconds: what clients of gRPC with a policy of retries go by.
///
/// <https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback>
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The header that says how messages are packed.
pub(super) const ENCODING: &str = "grpc-encoding";
/// How they may be.
const ACCEPT_ENCODING: &str = "identity,gzip,deflate";

/// The status of a refusal. A full queue is `UNAVAILABLE`, as in Triton.
pub(crate) fn status(refusal: &Refusal) -> Status {
    let code = match refusal.status() {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, refusal.to_string());
    if let Refusal::Encoding(_) = refusal {
        let understood = MetadataValue::from_static(ACCEPT_ENCODING);
        status
            .metadata_mut()
            .insert("grpc-accept-encoding", understood);
    }
    if let Some(wait) = refusal.retry_after() {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        status
            .metadata_mut()
            .insert(PUSHBACK, MetadataValue::from(milliseconds));
    }
    status
}

/// The status of HTTP that a call is counted by, so that all protocols are counted alike.
pub(crate) fn http_status(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::InvalidArgument => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::ResourceExhausted | Code::OutOfRange => 413,
        Code::Unimplemented => 404,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_is_to_come_again_is_told_when() {
        let check = |refusal: Refusal, code: Code, expected: Option<&str>| {
            let status = status(&refusal);
            let pushback = status.metadata().get(PUSHBACK);
            let pushback = pushback.map(|value| value.to_str().unwrap());
            assert_eq!((status.code(), pushback), (code, expected), "{refusal}");
        };
        let wait = Duration::from_millis(1500);
        check(Refusal::Full { wait }, Code::Unavailable, Some("1500"));
        check(Refusal::TooMany, Code::ResourceExhausted, Some("1000"));
        check(Refusal::Overdue, Code::DeadlineExceeded, None);
    }
}
