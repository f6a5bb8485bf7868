//! What was used, by whom, and who changed what.

use crate::admin_client::verbs::{Argument, Kind, Method, Place, Resource, Verb, filter, object};

const FROM: Argument = filter("from", "From this time on, such as 2026-11-01T00:00:00Z");
const TO: Argument = filter("to", "Before this time");
const TENANT: Argument = filter("tenant", "Only this tenant's");
const PROJECT: Argument = filter("project", "Only this project's");
const KEY: Argument = filter("key", "Only this key's");
const MODEL: Argument = filter("model", "Only this model's");
const PROVIDER: Argument = filter("provider", "Only this provider's");

pub(super) const USAGE: Resource = Resource {
    name: "usage",
    about: "Requests, tokens and cost",
    verbs: &[Verb {
        name: "",
        about: "Requests, tokens and cost",
        example: "tollgate usage --group-by project,model --bucket day --from 2026-11-01T00:00:00Z",
        method: Method::Get,
        path: "/usage",
        arguments: &[
            Argument {
                name: "group_by",
                help: "tenant, project, key, model, provider, user, label:NAME",
                place: Place::Query,
                kind: Kind::Words,
                required: false,
                default: None,
            },
            filter("bucket", "hour, day or month"),
            FROM,
            TO,
            TENANT,
            PROJECT,
            KEY,
            MODEL,
            PROVIDER,
            filter("format", "csv"),
        ],
        columns: &[
            "bucket",
            "tenant",
            "project",
            "key",
            "provider",
            "model",
            "user",
            "labels",
            "requests",
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "errors",
            "cost_usd",
            "provider_cost_usd",
        ],
    }],
};

pub(super) const REQUESTS: Resource = Resource {
    name: "requests",
    about: "Single requests and their receipts",
    verbs: &[
        Verb {
            name: "list",
            about: "List requests, the latest first",
            example: "tollgate requests list --tenant acme --limit 20",
            method: Method::List,
            path: "/requests",
            arguments: &[
                TENANT,
                PROJECT,
                KEY,
                MODEL,
                PROVIDER,
                filter("outcome", "Only of this outcome: ok, client_closed or an error's code"),
                FROM,
                TO,
            ],
            columns: &[
                "finished_at",
                "tenant",
                "project",
                "key",
                "provider",
                "model",
                "status",
                "outcome",
                "usage.input",
                "usage.output",
                "cost",
                "provider_cost",
                "basis",
                "duration_ms",
                "id",
            ],
        },
        Verb {
            name: "get",
            about: "Show a request's receipt",
            example: "tollgate requests get REQUEST-ID",
            method: Method::Get,
            path: "/requests/{request}",
            arguments: &[object("request", "The request's id")],
            columns: &[],
        },
    ],
};

pub(super) const HOLDS: Resource = Resource {
    name: "holds",
    about: "Money that is kept for requests under way",
    verbs: &[Verb {
        name: "list",
        about: "List a tenant's holds; a suspect one lost its pod and is settled at what is known",
        example: "tollgate holds list --tenant acme",
        method: Method::List,
        path: "/holds",
        arguments: &[Argument { required: true, ..filter("tenant", "The tenant, by id or name") }],
        columns: &[
            "admitted_at",
            "age_seconds",
            "amount",
            "progress",
            "suspect",
            "lease_until",
            "node_id",
            "key_id",
            "id",
        ],
    }],
};

pub(super) const AUDIT: Resource = Resource {
    name: "audit",
    about: "Who changed what, and when",
    verbs: &[Verb {
        name: "list",
        about: "List changes, the latest first",
        example: "tollgate audit list --limit 20",
        method: Method::List,
        path: "/audit",
        arguments: &[
            filter("actor", "Only by this actor"),
            filter("action", "Only this action: create, update, delete, rotate, revoke, grant"),
            filter("object_kind", "Only about this kind of object: tenant, project, key, …"),
            filter("object_id", "Only about the object of this id"),
            TENANT,
            FROM,
            TO,
        ],
        columns: &["at", "actor", "actor_kind", "action", "object_kind", "object_name", "reason", "sequence"],
    }],
};
