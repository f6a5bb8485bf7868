//! Providers and virtual models.

use crate::admin_client::verbs::{
    Argument, Kind, Method, Resource, Verb, field, filter, first, inner, object, required,
};

const PROVIDER: Argument = object("provider", "The provider's name or id");
const MODEL: Argument = object("model", "The model's name or id");
const BASE_URL: Argument = field("base_url", Kind::Text, "Where it is, such as https://api.openai.com/v1");
const CREDENTIAL_FILE: Argument =
    inner("secret_file", "credentials", Kind::CredentialFile, "File with its API key; - is stdin");
const CREDENTIAL_VARIABLE: Argument =
    inner("secret_env", "credentials", Kind::CredentialVariable, "Environment variable with its API key");
const CREDENTIALS: Argument = field("credentials", Kind::Json, "Several weighted credentials as JSON");
const REGION: Argument = field("region", Kind::Text, "Where the data goes");
const RETENTION: Argument = field("retention", Kind::Text, "What the vendor keeps: none, 30d, …");
const TRAINS_ON_DATA: Argument =
    field("trains_on_data", Kind::Boolean, "Whether the vendor trains on the data");
const MAX_CONCURRENT_REQUESTS: Argument =
    field("max_concurrent_requests", Kind::Whole, "Requests in flight per pod, at most");
const RESPONSES: Argument =
    field("responses", Kind::Text, "Whether it serves OpenAI's Responses: native or translated");

pub(super) const PROVIDERS: Resource = Resource {
    name: "providers",
    about: "Model vendors and how they are reached",
    verbs: &[
        Verb {
            name: "list",
            about: "List the providers",
            example: "tollgate providers list",
            method: Method::List,
            path: "/providers",
            arguments: &[],
            columns: &["name", "dialect", "base_url", "region", "retention", "created_at", "id"],
        },
        Verb {
            name: "get",
            about: "Show a provider, without its secrets",
            example: "tollgate providers get openai",
            method: Method::Get,
            path: "/providers/{provider}",
            arguments: &[PROVIDER],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a provider",
            example: "tollgate providers create openai --dialect openai --secret-env OPENAI_API_KEY",
            method: Method::Post,
            path: "/providers",
            arguments: &[
                first("name", "Its name: the first segment of provider/model"),
                required(field("dialect", Kind::Text, "What it speaks, such as openai")),
                BASE_URL,
                CREDENTIAL_FILE,
                CREDENTIAL_VARIABLE,
                CREDENTIALS,
                REGION,
                RETENTION,
                TRAINS_ON_DATA,
                MAX_CONCURRENT_REQUESTS,
                RESPONSES,
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a provider",
            example: "tollgate providers update openai --secret-file new-key.txt",
            method: Method::Patch,
            path: "/providers/{provider}",
            arguments: &[
                PROVIDER,
                field("name", Kind::Text, "A new name"),
                BASE_URL,
                CREDENTIAL_FILE,
                CREDENTIAL_VARIABLE,
                CREDENTIALS,
                REGION,
                RETENTION,
                TRAINS_ON_DATA,
                MAX_CONCURRENT_REQUESTS,
                RESPONSES,
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a provider",
            example: "tollgate providers delete openai",
            method: Method::Delete,
            path: "/providers/{provider}",
            arguments: &[PROVIDER],
            columns: &[],
        },
        Verb {
            name: "test",
            about: "Ask a provider for its models with its credentials",
            example: "tollgate providers test openai",
            method: Method::Post,
            path: "/providers/{provider}/test",
            arguments: &[PROVIDER],
            columns: &[],
        },
    ],
};

const TARGETS: Argument = field("targets", Kind::Targets, "Where it leads, first choice first");
const FALLBACKS: Argument =
    field("fallbacks", Kind::Words, "Virtual models whose targets follow after its own");
const MAX_ATTEMPTS: Argument = inner("max_attempts", "retry.max_attempts", Kind::Whole, "Attempts in all");
const TOTAL_TIMEOUT: Argument =
    inner("total_timeout", "timeouts.total", Kind::Text, "For the whole request, such as 300s");
const SLICE_TOKENS: Argument = inner(
    "slice_tokens",
    "hold.slice_tokens",
    Kind::Whole,
    "Answer tokens that a stream holds for at a time; 0 for the whole answer",
);
const DROP_UNSUPPORTED: Argument = field(
    "drop_unsupported",
    Kind::Boolean,
    "Whether what a target lacks is left out where that is harmless, rather than refused",
);

pub(super) const MODELS: Resource = Resource {
    name: "models",
    about: "Virtual models: what applications ask for",
    verbs: &[
        Verb {
            name: "list",
            about: "List the virtual models",
            example: "tollgate models list",
            method: Method::List,
            path: "/models",
            arguments: &[],
            columns: &["name", "strategy", "targets", "fallbacks", "created_at", "id"],
        },
        Verb {
            name: "get",
            about: "Show a virtual model",
            example: "tollgate models get chat-default",
            method: Method::Get,
            path: "/models/{model}",
            arguments: &[MODEL],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a virtual model",
            example: "tollgate models create chat-default --targets openai/gpt-5-mini,groq/openai/gpt-oss-120b",
            method: Method::Post,
            path: "/models",
            arguments: &[
                first("name", "Its name"),
                required(TARGETS),
                FALLBACKS,
                field("strategy", Kind::Text, "Order of the targets: priority"),
                MAX_ATTEMPTS,
                TOTAL_TIMEOUT,
                SLICE_TOKENS,
                DROP_UNSUPPORTED,
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a virtual model",
            example: "tollgate models update chat-default --fallbacks chat-cheap",
            method: Method::Patch,
            path: "/models/{model}",
            arguments: &[
                MODEL,
                field("name", Kind::Text, "A new name"),
                TARGETS,
                FALLBACKS,
                field("strategy", Kind::Text, "Order of the targets: priority"),
                MAX_ATTEMPTS,
                TOTAL_TIMEOUT,
                SLICE_TOKENS,
                DROP_UNSUPPORTED,
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a virtual model",
            example: "tollgate models delete chat-default",
            method: Method::Delete,
            path: "/models/{model}",
            arguments: &[MODEL],
            columns: &[],
        },
        Verb {
            name: "catalog",
            about: "List the models of the built-in catalogue with their prices",
            example: "tollgate models catalog --vendor openai --capability vision",
            method: Method::List,
            path: "/catalog/models",
            arguments: &[
                filter("vendor", "Only this vendor's"),
                filter("surface", "Only models that serve this surface: chat, embeddings, images, …"),
                filter("capability", "Only models that can do this: tools, structured_output, reasoning, …"),
                filter("q", "Only models with this text in their name or an alias"),
            ],
            columns: &[
                "vendor",
                "model",
                "context_tokens",
                "max_output_tokens",
                "prices.input",
                "prices.cached_input",
                "prices.output",
                "deprecated_on",
                "as_of",
            ],
        },
    ],
};
