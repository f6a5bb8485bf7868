//! Tenants, projects and keys.

use super::{CONCURRENT_REQUESTS, REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE};
use crate::admin_client::verbs::{
    Argument, Kind, Method, Resource, Verb, field, first, inner, object, parent,
};

const TENANT: Argument = object("tenant", "The tenant's name or id");
const PROJECT: Argument = object("project", "The project's name, tenant/project, or id");
const KEY: Argument = object("key", "The key's name, tenant/project/key, or id");
const BILLING: Argument = field("billing", Kind::Text, "prepaid or postpaid");
const ALERT_BELOW: Argument =
    field("alert_below", Kind::Words, "Balances in USD below which an alert is raised, such as 5.00,1.00");
const TIME_ZONE: Argument =
    field("time_zone", Kind::Text, "Whose calendar its budgets follow, such as Europe/Berlin");
const REGIONS: Argument = inner("regions", "data_policy.regions", Kind::Words, "Regions its data may go to");
const ALLOWED_PROVIDERS: Argument =
    inner("providers", "data_policy.providers", Kind::Words, "Providers its data may go to, * as wildcard");
const ZERO_RETENTION: Argument = inner(
    "require_zero_retention",
    "data_policy.require_zero_retention",
    Kind::Boolean,
    "Only providers known to keep nothing",
);
const LABELS: Argument = field("labels", Kind::Labels, "Labels on every request");
const END_USERS: Argument = field(
    "end_users",
    Kind::Json,
    "What holds for each end user, such as '{\"budgets\":[{\"limit\":\"1.00\",\"window\":\"day\"}]}'",
);
const MODEL_LIMITS: Argument = field(
    "model_limits",
    Kind::Json,
    "Limits per model, such as '[{\"model\":\"chat-*\",\"requests_per_minute\":60}]'",
);
const NEW_NAME: Argument = field("name", Kind::Text, "A new name");

pub(super) const TENANTS: Resource = Resource {
    name: "tenants",
    about: "Customers or departments: who pays",
    verbs: &[
        Verb {
            name: "list",
            about: "List the tenants",
            example: "tollgate tenants list",
            method: Method::List,
            path: "/tenants",
            arguments: &[],
            columns: &["name", "billing", "time_zone", "blocked", "created_at", "id"],
        },
        Verb {
            name: "get",
            about: "Show a tenant",
            example: "tollgate tenants get acme",
            method: Method::Get,
            path: "/tenants/{tenant}",
            arguments: &[TENANT],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a tenant",
            example: "tollgate tenants create acme --billing prepaid --time-zone Europe/Berlin",
            method: Method::Post,
            path: "/tenants",
            arguments: &[
                first("name", "Its name"),
                BILLING,
                TIME_ZONE,
                ALERT_BELOW,
                REQUESTS_PER_MINUTE,
                TOKENS_PER_MINUTE,
                CONCURRENT_REQUESTS,
                END_USERS,
                MODEL_LIMITS,
                REGIONS,
                ALLOWED_PROVIDERS,
                ZERO_RETENTION,
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a tenant",
            example: "tollgate tenants update acme --blocked true",
            method: Method::Patch,
            path: "/tenants/{tenant}",
            arguments: &[
                TENANT,
                NEW_NAME,
                BILLING,
                field("blocked", Kind::Boolean, "Refuse all its keys"),
                TIME_ZONE,
                ALERT_BELOW,
                REQUESTS_PER_MINUTE,
                TOKENS_PER_MINUTE,
                CONCURRENT_REQUESTS,
                END_USERS,
                MODEL_LIMITS,
                REGIONS,
                ALLOWED_PROVIDERS,
                ZERO_RETENTION,
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a tenant",
            example: "tollgate tenants delete acme",
            method: Method::Delete,
            path: "/tenants/{tenant}",
            arguments: &[TENANT],
            columns: &[],
        },
        Verb {
            name: "balance",
            about: "Show what a tenant has, holds and may still spend",
            example: "tollgate tenants balance acme",
            method: Method::Get,
            path: "/tenants/{tenant}/balance",
            arguments: &[TENANT],
            columns: &[],
        },
        Verb {
            name: "ledger",
            about: "List the journal entries of a tenant",
            example: "tollgate tenants ledger acme --limit 20",
            method: Method::List,
            path: "/tenants/{tenant}/ledger",
            arguments: &[TENANT],
            columns: &["at", "kind", "debit", "credit", "amount", "reference", "request_id", "id"],
        },
    ],
};

pub(super) const PROJECTS: Resource = Resource {
    name: "projects",
    about: "Applications of a tenant",
    verbs: &[
        Verb {
            name: "list",
            about: "List a tenant's projects",
            example: "tollgate projects list --tenant acme",
            method: Method::List,
            path: "/tenants/{tenant}/projects",
            arguments: &[parent("tenant", "The tenant's name or id")],
            columns: &["name", "tenant", "labels", "created_at", "id"],
        },
        Verb {
            name: "get",
            about: "Show a project",
            example: "tollgate projects get support-bot",
            method: Method::Get,
            path: "/projects/{project}",
            arguments: &[PROJECT],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a project",
            example: "tollgate projects create support-bot --tenant acme --labels department=support",
            method: Method::Post,
            path: "/tenants/{tenant}/projects",
            arguments: &[
                first("name", "Its name"),
                parent("tenant", "The tenant's name or id"),
                LABELS,
                REQUESTS_PER_MINUTE,
                TOKENS_PER_MINUTE,
                CONCURRENT_REQUESTS,
                END_USERS,
                MODEL_LIMITS,
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a project",
            example: "tollgate projects update support-bot --requests-per-minute 600",
            method: Method::Patch,
            path: "/projects/{project}",
            arguments: &[
                PROJECT,
                NEW_NAME,
                LABELS,
                REQUESTS_PER_MINUTE,
                TOKENS_PER_MINUTE,
                CONCURRENT_REQUESTS,
                END_USERS,
                MODEL_LIMITS,
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a project",
            example: "tollgate projects delete support-bot",
            method: Method::Delete,
            path: "/projects/{project}",
            arguments: &[PROJECT],
            columns: &[],
        },
    ],
};

const MODELS: Argument = field("models", Kind::Words, "Models it may ask for, * as wildcard");
const EXPIRES_AT: Argument =
    field("expires_at", Kind::Text, "Refused from then on, such as 2027-01-01T00:00:00Z");

pub(super) const KEYS: Resource = Resource {
    name: "keys",
    about: "API keys of a project",
    verbs: &[
        Verb {
            name: "list",
            about: "List a project's keys",
            example: "tollgate keys list --project support-bot",
            method: Method::List,
            path: "/projects/{project}/keys",
            arguments: &[parent("project", "The project's name, tenant/project, or id")],
            columns: &[
                "name",
                "project",
                "public_prefix",
                "state",
                "models",
                "expires_at",
                "created_at",
                "id",
            ],
        },
        Verb {
            name: "get",
            about: "Show a key, without its secret",
            example: "tollgate keys get prod",
            method: Method::Get,
            path: "/keys/{key}",
            arguments: &[KEY],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a key; its secret is printed once",
            example: "tollgate keys create prod --project support-bot --models 'chat-*' --requests-per-minute 600",
            method: Method::Post,
            path: "/projects/{project}/keys",
            arguments: &[
                first("name", "Its name"),
                parent("project", "The project's name, tenant/project, or id"),
                MODELS,
                EXPIRES_AT,
                LABELS,
                REQUESTS_PER_MINUTE,
                TOKENS_PER_MINUTE,
                CONCURRENT_REQUESTS,
                END_USERS,
                MODEL_LIMITS,
                inner("secret_file", "secret", Kind::SecretFile, "File with your own secret; - is stdin"),
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a key",
            example: "tollgate keys update prod --models 'chat-*,openai/gpt-5-mini'",
            method: Method::Patch,
            path: "/keys/{key}",
            arguments: &[
                KEY,
                NEW_NAME,
                MODELS,
                EXPIRES_AT,
                LABELS,
                REQUESTS_PER_MINUTE,
                TOKENS_PER_MINUTE,
                CONCURRENT_REQUESTS,
                END_USERS,
                MODEL_LIMITS,
            ],
            columns: &[],
        },
        Verb {
            name: "revoke",
            about: "Revoke a key for good",
            example: "tollgate keys revoke prod",
            method: Method::Delete,
            path: "/keys/{key}",
            arguments: &[KEY],
            columns: &[],
        },
        Verb {
            name: "rotate",
            about: "Give a key a new secret, printed once; the old one holds for a while",
            example: "tollgate keys rotate prod --grace-seconds 86400",
            method: Method::Post,
            path: "/keys/{key}/rotate",
            arguments: &[
                KEY,
                field("grace_seconds", Kind::Whole, "How long the old secret is still accepted"),
            ],
            columns: &[],
        },
        Verb {
            name: "block",
            about: "Refuse a key for now",
            example: "tollgate keys block prod",
            method: Method::Post,
            path: "/keys/{key}/block",
            arguments: &[KEY],
            columns: &[],
        },
        Verb {
            name: "unblock",
            about: "Accept a blocked key again",
            example: "tollgate keys unblock prod",
            method: Method::Post,
            path: "/keys/{key}/unblock",
            arguments: &[KEY],
            columns: &[],
        },
    ],
};
