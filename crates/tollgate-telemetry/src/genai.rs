//! Attribute names of OpenTelemetry's semantic conventions for generative AI, and of HTTP and errors as far
//! as they are used; what the conventions lack stands under `tollgate.`.

use tollgate_domain::Surface;

/// What the model is asked to do: `chat`, `text_completion`, `embeddings`.
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// The provider's name.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model as the client asked for it.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The client's cap on the answer.
pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// Whether the client asked for a stream.
pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
/// The model that answered.
pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// All prompt tokens, cached ones included.
pub const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// All answer tokens, reasoning included.
pub const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Prompt tokens read from the provider's cache.
pub const USAGE_CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";

/// Class of failure; absent where there is none.
pub const ERROR_TYPE: &str = "error.type";
/// Status of the answer.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";

/// Identity of the request, as in `x-tollgate-request-id`.
pub const TOLLGATE_REQUEST_ID: &str = "tollgate.request.id";
/// Identity of the tenant.
pub const TOLLGATE_TENANT_ID: &str = "tollgate.tenant.id";
/// Identity of the project.
pub const TOLLGATE_PROJECT_ID: &str = "tollgate.project.id";
/// Identity of the key, never its text.
pub const TOLLGATE_KEY_ID: &str = "tollgate.key.id";
/// How the request ended.
pub const TOLLGATE_OUTCOME: &str = "tollgate.outcome";
/// What was charged, in 10⁻⁹ USD.
pub const TOLLGATE_COST_NANO_USD: &str = "tollgate.cost_nano_usd";
/// Attempts at providers.
pub const TOLLGATE_ATTEMPTS: &str = "tollgate.attempts";
/// Time inside the gateway, in microseconds.
pub const TOLLGATE_OVERHEAD_US: &str = "tollgate.overhead_us";

/// The conventions' operation of a surface.
#[must_use]
pub const fn operation_name(surface: Surface) -> &'static str {
    match surface {
        Surface::Chat => "chat",
        Surface::Completions => "text_completion",
        Surface::Embeddings => "embeddings",
        Surface::Moderations => "moderation",
        Surface::Rerank => "rerank",
        Surface::Images => "image_generation",
        Surface::ImageEdits => "image_edit",
        Surface::ImageVariations => "image_variation",
        Surface::Speech => "speech",
        Surface::Transcriptions => "transcription",
        Surface::Translations => "translation",
        Surface::Passthrough => "passthrough",
        Surface::Files => "file",
        Surface::Batches => "batch",
        Surface::Responses => "response",
    }
}
