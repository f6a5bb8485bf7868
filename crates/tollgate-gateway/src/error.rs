//! Refusals: everything that can be said to a client instead of an answer.
//!
//! A [`Refusal`] is made with an [`ErrorKind`] and one sentence that is meant for the client; nothing else
//! ever reaches it. The kind decides status, code, `type` and whether a client should try again.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tollgate_domain::{ErrorKind, NanoUsd, RequestId, UnixMillis};
use tollgate_ledger::{LedgerError, MoneyRefusal, RateRefusal};
use tollgate_policy::{AuthDenied, PlanDenied};
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::error::{ErrorBody, encode_error, encode_error_event, error_type};
use tollgate_wire::openai::request::RequestError;
use tollgate_wire::openai::responses::encode_error_event as openai_responses_error_event;
use tollgate_wire::sse::data_event;
use tollgate_wire::{anthropic, gemini};

/// What the OpenAI and Anthropic SDKs read before they retry on their own.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// What a client is told to wait where only holds in flight are in its way: about one short request.
const HELD_RETRY_AFTER_MS: u64 = 1_000;
/// What a client is told to wait for our own trouble to pass.
const TROUBLE_RETRY_AFTER_MS: u64 = 1_000;

/// A refusal in the making: kind, sentence, and what goes with it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    /// Where it is not the kind's.
    pub(crate) status: Option<StatusCode>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) metadata: Option<Value>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) should_retry: Option<bool>,
    /// The method that the path takes, with a 405.
    pub(crate) allow: Option<&'static str>,
    /// The rate limit that refused, for the `x-ratelimit-*` headers.
    pub(crate) rate: Option<Box<RateRefusal>>,
    /// How often a provider was tried before.
    pub(crate) n_attempts: usize,
    /// Whether a reservation was settled with it, which also counted it.
    pub(crate) is_settled: bool,
    /// A provider's own refusal, passed on with its status.
    pub(crate) upstream: Option<Box<UpstreamRefusal>>,
}

/// A provider's 4xx about the request itself: passed on as it is.
#[derive(Debug)]
pub(crate) struct UpstreamRefusal {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Refusal {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            message: message.into(),
            param: None,
            metadata: None,
            retry_after_ms: None,
            should_retry: None,
            allow: None,
            rate: None,
            n_attempts: 0,
            is_settled: false,
            upstream: None,
        }
    }

    pub(crate) fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        if let Some(upstream) = &self.upstream {
            return upstream.status;
        }
        let of_kind =
            || StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.status.unwrap_or_else(of_kind)
    }

    /// The body in the client's shape.
    pub(crate) fn body(&self, dialect: ChatDialect, request: RequestId) -> Bytes {
        let (message, code, metadata) = (&self.message, Some(self.kind.code()), self.metadata.as_ref());
        match (dialect, &self.upstream) {
            (ChatDialect::Anthropic, _) => {
                let kind = self.anthropic_type();
                anthropic::error::encode_error(kind, message, code, metadata, &request.to_string())
            }
            (ChatDialect::Gemini, _) => {
                let name = gemini::error::status_name(self.kind);
                let status = self.status().as_u16();
                Bytes::from(gemini::error::encode_error(status, name, message, code, metadata))
            }
            (_, Some(upstream)) => upstream.body.clone(),
            (_, None) => encode_error(&self.error_body()),
        }
    }

    /// The same as an error event, for streams that have begun.
    pub(crate) fn event(&self, dialect: ChatDialect) -> Bytes {
        match dialect {
            ChatDialect::Anthropic => {
                anthropic::error::encode_error_event(self.anthropic_type(), &self.message)
            }
            ChatDialect::Gemini => {
                let name = gemini::error::status_name(self.kind);
                let (status, code) = (self.kind.status(), Some(self.kind.code()));
                data_event(&gemini::error::encode_error(status, name, &self.message, code, None))
            }
            ChatDialect::OpenAiResponses => openai_responses_error_event(self.kind.code(), &self.message),
            _ => encode_error_event(&self.error_body()),
        }
    }

    /// By the status that is told, which is the provider's own where its refusal is passed on.
    fn anthropic_type(&self) -> &'static str {
        match self.upstream.as_ref().map(|upstream| upstream.status.as_u16()) {
            Some(404) => "not_found_error",
            Some(413) => "request_too_large",
            Some(_) => "invalid_request_error",
            None => anthropic::error::error_type(self.kind),
        }
    }

    fn error_body(&self) -> ErrorBody<'_> {
        ErrorBody {
            message: &self.message,
            error_type: error_type(self.kind),
            param: self.param.as_deref(),
            code: Some(self.kind.code()),
            metadata: self.metadata.as_ref(),
        }
    }

    pub(crate) fn write_headers(&self, headers: &mut http::HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(retry_after_ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1_000)));
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(retry_after_ms));
        }
        if let Some(should_retry) = self.should_retry {
            let text = if should_retry { "true" } else { "false" };
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(text));
        }
    }
}

// === money ===

/// How a budget or wallet is named to the client.
pub(crate) struct MoneyScope {
    /// `wallet`, `key`, `project`, `tenant` or `end_user`.
    pub(crate) name: &'static str,
    /// The budget's window, where it is one.
    pub(crate) window: Option<&'static str>,
}

/// The 402 of `api.md`; `held` tells whether only holds in flight are in the way.
pub(crate) fn money_refusal(
    refusal: &MoneyRefusal,
    scope: &MoneyScope,
    required: NanoUsd,
    held_only: bool,
) -> Refusal {
    let is_wallet = scope.window.is_none();
    let kind = if is_wallet { ErrorKind::InsufficientCredit } else { ErrorKind::BudgetExceeded };
    let remaining = refusal.limit.saturating_sub(refusal.settled).max(NanoUsd::ZERO);
    let available = remaining.saturating_sub(refusal.held).max(NanoUsd::ZERO);
    let what = match scope.window {
        None => "the prepaid credit".to_owned(),
        Some(window) => format!("the {}'s {window} budget", scope.name.replace('_', " ")),
    };
    let message = if held_only {
        format!("{what} is reserved by requests in flight: try again in a moment")
    } else if is_wallet {
        format!(
            "{what} cannot pay for this request ({required} USD needed, {available} USD left): top up, or ask for less with max_tokens"
        )
    } else {
        format!(
            "{what} cannot pay for this request ({required} USD needed, {available} USD left): raise it, wait for its reset, or ask for less with max_tokens"
        )
    };
    let metadata = json!({
        "scope": scope.name,
        "window": scope.window,
        "limit_usd": refusal.limit,
        "remaining_usd": remaining,
        "held_usd": refusal.held,
        "required_usd": required,
        "resets_at": refusal.resets_at.and_then(UnixMillis::to_rfc3339),
        "retryable": held_only,
    });
    Refusal {
        metadata: Some(metadata),
        retry_after_ms: held_only.then_some(HELD_RETRY_AFTER_MS),
        should_retry: Some(held_only),
        ..Refusal::new(kind, message)
    }
}

// === conversions ===

impl From<AuthDenied> for Refusal {
    fn from(denied: AuthDenied) -> Self {
        Self::new(ErrorKind::InvalidApiKey, denied.to_string())
    }
}

impl From<PlanDenied> for Refusal {
    fn from(denied: PlanDenied) -> Self {
        let kind = match denied {
            PlanDenied::NotFound { .. } => ErrorKind::ModelNotFound,
            PlanDenied::NotAllowed { .. } => ErrorKind::ModelNotAllowed,
            PlanDenied::DataPolicy { .. } => ErrorKind::DataPolicyViolation,
        };
        Self::new(kind, denied.to_string()).with_param("model")
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self { param: error.param, ..Self::new(ErrorKind::InvalidRequest, error.message) }
    }
}

impl From<LedgerError> for Refusal {
    fn from(_: LedgerError) -> Self {
        ledger_unavailable()
    }
}

impl From<&LedgerError> for Refusal {
    fn from(_: &LedgerError) -> Self {
        ledger_unavailable()
    }
}

pub(crate) fn ledger_unavailable() -> Refusal {
    Refusal::new(
        ErrorKind::LedgerUnavailable,
        "the ledger is not available: nothing was sent; try again shortly",
    )
    .with_retry_after_ms(TROUBLE_RETRY_AFTER_MS)
}

pub(crate) fn policy_unavailable() -> Refusal {
    Refusal::new(
        ErrorKind::PolicyUnavailable,
        "this gateway has no policy yet: nothing was sent; try again shortly",
    )
    .with_retry_after_ms(TROUBLE_RETRY_AFTER_MS)
}

pub(crate) fn shutting_down() -> Refusal {
    Refusal::new(ErrorKind::Overloaded, "this gateway is shutting down: try again")
}

pub(crate) fn overloaded() -> Refusal {
    Refusal::new(ErrorKind::Overloaded, "this gateway is overloaded: nothing was sent; try again shortly")
        .with_retry_after_ms(TROUBLE_RETRY_AFTER_MS)
}
