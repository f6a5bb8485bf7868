//! Webhooks: where alerts are sent.

use crate::admin_client::verbs::{
    Argument, Kind, Method, Resource, Verb, field, filter, first, inner, object, required,
};

const WEBHOOK: Argument = object("webhook", "The webhook's name or id");
const EVENTS: Argument = field("events", Kind::Words, "Which events: budget.threshold, wallet.low");
const SECRET: Argument =
    inner("secret_file", "secret", Kind::SecretFile, "File with the signing secret, whsec_…; - is stdin");

pub(super) const WEBHOOKS: Resource = Resource {
    name: "webhooks",
    about: "Where alerts are sent, signed",
    verbs: &[
        Verb {
            name: "list",
            about: "List the webhooks",
            example: "tollgate webhooks list",
            method: Method::List,
            path: "/webhooks",
            arguments: &[],
            columns: &["name", "url", "tenant", "events", "enabled", "disabled_reason", "id"],
        },
        Verb {
            name: "get",
            about: "Show a webhook, without its secret",
            example: "tollgate webhooks get ops",
            method: Method::Get,
            path: "/webhooks/{webhook}",
            arguments: &[WEBHOOK],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a webhook; a secret that is made for it is printed once",
            example: "tollgate webhooks create ops --url https://example.com/hook --events budget.threshold",
            method: Method::Post,
            path: "/webhooks",
            arguments: &[
                first("name", "Its name"),
                required(field("url", Kind::Text, "https://…, or http://… to the control plane's machine")),
                required(EVENTS),
                field("tenant", Kind::Text, "Only this tenant's events"),
                SECRET,
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a webhook",
            example: "tollgate webhooks update ops --enabled true",
            method: Method::Patch,
            path: "/webhooks/{webhook}",
            arguments: &[
                WEBHOOK,
                field("name", Kind::Text, "A new name"),
                field("url", Kind::Text, "Where messages are sent"),
                EVENTS,
                SECRET,
                field("enabled", Kind::Boolean, "Whether anything is sent; false gives up what is pending"),
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a webhook with its deliveries",
            example: "tollgate webhooks delete ops",
            method: Method::Delete,
            path: "/webhooks/{webhook}",
            arguments: &[WEBHOOK],
            columns: &[],
        },
        Verb {
            name: "test",
            about: "Send a signed test message and show what the receiver said",
            example: "tollgate webhooks test ops",
            method: Method::Post,
            path: "/webhooks/{webhook}/test",
            arguments: &[WEBHOOK],
            columns: &[],
        },
        Verb {
            name: "deliveries",
            about: "List a webhook's deliveries, newest first",
            example: "tollgate webhooks deliveries ops --state failed",
            method: Method::List,
            path: "/webhooks/{webhook}/deliveries",
            arguments: &[WEBHOOK, filter("state", "Only pending, delivered or failed ones")],
            columns: &[
                "created_at",
                "event",
                "state",
                "attempts",
                "last_status",
                "last_error",
                "next_attempt_at",
                "message_id",
            ],
        },
    ],
};
