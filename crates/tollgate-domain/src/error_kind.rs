//! Every way a request can end badly, once: the API's code, its status, and the metric label.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal;)*) => {
        /// The class of an error. Its code is a public name and a metric label of fixed cardinality.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorKind { $($(#[$doc])* #[serde(rename = $code)] $variant,)* }

        impl ErrorKind {
            /// Every kind.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The `code` clients see; also the metric label.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

kinds! {
    /// Bad JSON, a wrong type, an unknown parameter.
    InvalidRequest = "invalid_request", 400;
    /// A guardrail said no.
    GuardrailBlocked = "guardrail_blocked", 400;
    /// No key, an unknown, revoked or expired one.
    InvalidApiKey = "invalid_api_key", 401;
    /// The prepaid wallet cannot pay.
    InsufficientCredit = "insufficient_credit", 402;
    /// A budget cannot pay.
    BudgetExceeded = "budget_exceeded", 402;
    /// The key may not use this model.
    ModelNotAllowed = "model_not_allowed", 403;
    /// No target satisfies the data policy.
    DataPolicyViolation = "data_policy_violation", 403;
    /// The client's address is not allowed.
    IpNotAllowed = "ip_not_allowed", 403;
    /// No such model.
    ModelNotFound = "model_not_found", 404;
    /// No such path.
    NotFound = "not_found", 404;
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The client did not finish sending in time.
    RequestTimeout = "request_timeout", 408;
    /// The body is larger than the limit.
    RequestTooLarge = "request_too_large", 413;
    /// The model has no price.
    ModelNotPriced = "model_not_priced", 422;
    /// A request or token rate limit.
    RateLimitExceeded = "rate_limit_exceeded", 429;
    /// Too many requests in flight.
    ConcurrencyLimitExceeded = "concurrency_limit_exceeded", 429;
    /// The provider's own rate limit, on every candidate.
    UpstreamRateLimited = "upstream_rate_limited", 429;
    /// The client left; in logs only.
    ClientClosed = "client_closed", 499;
    /// A bug of ours.
    Internal = "internal_error", 500;
    /// The provider refused with a status that is passed on as it is.
    UpstreamRefused = "upstream_refused", 400;
    /// The provider failed or answered nonsense.
    UpstreamError = "upstream_error", 502;
    /// Every credential of the provider is refused.
    UpstreamCredentialsExhausted = "upstream_credentials_exhausted", 502;
    /// Too much at once for this pod.
    Overloaded = "overloaded", 503;
    /// The pod has no policy yet.
    PolicyUnavailable = "policy_unavailable", 503;
    /// The ledger cannot be reached.
    LedgerUnavailable = "ledger_unavailable", 503;
    /// The provider did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_labels() {
        let codes: std::collections::BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            assert!(kind.code().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.code()));
        }
    }
}
