use std::time::Duration;

use hyper::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use super::{Response, UNDERSTOOD, json};
use crate::{access::Denied, runtime::Unanswered};

/// Why a request gets no answer: each kind has a status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// 400
    #[error("{0}")]
    Malformed(String),
    /// 401, 403; 503 if the server cannot tell
    #[error(transparent)]
    Denied(#[from] Denied),
    /// 404
    #[error("{0}")]
    NotFound(String),
    /// 405
    #[error("expected {allowed}")]
    Method { allowed: &'static str },
    /// 408
    #[error("the body did not arrive in time")]
    Stalled,
    /// 413
    #[error("{what}: more than the {limit} that are allowed")]
    TooLarge { what: &'static str, limit: usize },
    /// 415
    #[error("content encoding `{0}` is not supported: expected {UNDERSTOOD} or none")]
    Encoding(String),
    /// 429
    #[error("as many requests of this key as are allowed are being answered: try again")]
    TooMany,
    /// 500
    #[error("{0}")]
    Internal(&'static str),
    /// 503
    #[error("{0}: try again")]
    Busy(&'static str),
    /// 503
    #[error("the model's queue is full: try again")]
    Full {
        /// After this time it will be empty.
        wait: Duration,
    },
    /// 503, and to try again at once is of no use
    #[error("{0}")]
    NotServed(String),
    /// 504
    #[error("the time allowed for the request is up")]
    Overdue,
}

/// Seconds after which a caller is told to come again at most.
const LONGEST_WAIT: u128 = 60;

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Denied(Denied::Action(_) | Denied::Model) => StatusCode::FORBIDDEN,
            Self::Denied(Denied::Unreadable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied(Denied::Missing | Denied::Invalid | Denied::Revoked | Denied::Expired) => {
                StatusCode::UNAUTHORIZED
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy(_) | Self::Full { .. } | Self::NotServed(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Overdue => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// `{"error": "…"}`, as the Open Inference Protocol has it.
    pub(crate) fn response(&self) -> Response {
        let body = serde_json::json!({ "error": self.to_string() });
        let mut response = json(body.to_string());
        *response.status_mut() = self.status();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// A word for metrics if the guard or a limit refused, and not the request's own content.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Denied(Denied::Missing) => Some("no-credential"),
            Self::Denied(Denied::Invalid) => Some("invalid-key"),
            Self::Denied(Denied::Revoked) => Some("revoked-key"),
            Self::Denied(Denied::Expired) => Some("expired-key"),
            Self::Denied(Denied::Unreadable) => Some("keys-unreadable"),
            Self::Denied(Denied::Action(_)) => Some("action"),
            Self::Denied(Denied::Model) => Some("model"),
            Self::Busy(_) => Some("busy"),
            Self::Full { .. } => Some("queue-full"),
            Self::TooMany => Some("key-requests"),
            Self::Overdue => Some("overdue"),
            Self::Stalled => Some("stalled"),
            Self::TooLarge { .. } => Some("too-large"),
            Self::Malformed(_)
            | Self::NotServed(_)
            | Self::NotFound(_)
            | Self::Method { .. }
            | Self::Encoding(_)
            | Self::Internal(_) => None,
        }
    }

    /// When it may be of use to try again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(_) | Self::TooMany | Self::Denied(Denied::Unreadable) => {
                Some(Duration::from_secs(1))
            }
            Self::Full { wait } => Some(*wait),
            _ => None,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        if let Some(wait) = self.retry_after() {
            // The header has whole seconds; at least one, or callers would come again at once.
            let seconds = wait.as_millis().div_ceil(1000).clamp(1, LONGEST_WAIT);
            return Some((header::RETRY_AFTER, HeaderValue::from(seconds as u64)));
        }
        let (name, value) = match self {
            Self::Denied(_) if self.status() == StatusCode::UNAUTHORIZED => {
                (header::WWW_AUTHENTICATE, "Bearer")
            }
            Self::Method { allowed } => (header::ALLOW, *allowed),
            Self::Encoding(_) => (header::ACCEPT_ENCODING, UNDERSTOOD),
            _ => return None,
        };
        Some((name, HeaderValue::from_static(value)))
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Full(wait) => Self::Full { wait },
            Unanswered::Overdue => Self::Overdue,
            Unanswered::NotFinite => {
                Self::Malformed("input: numbers too large to compute with".to_owned())
            }
            Unanswered::Failed => Self::Internal("the computation failed"),
            Unanswered::Broken => Self::NotServed(
                "the model failed while it computed: it has to be loaded again".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_a_full_queue_is_told_when_to_come_again() {
        let check = |milliseconds: u64, expected: &str| {
            let wait = Duration::from_millis(milliseconds);
            let response = Refusal::from(Unanswered::Full(wait)).response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let header = response.headers().get(header::RETRY_AFTER);
            assert_eq!(header.unwrap(), expected, "{wait:?}");
        };
        check(0, "1");
        check(1000, "1");
        check(1001, "2");
        check(u64::MAX, "60");
        assert_eq!(Refusal::TooMany.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
