//! Margins: what customers pay on top of the provider's price.

use crate::admin_client::verbs::{Kind, Method, Resource, Verb, field, filter, first, object};

pub(super) const MARGINS: Resource = Resource {
    name: "margins",
    about: "What customers pay on top of the providers' prices",
    verbs: &[
        Verb {
            name: "list",
            about: "List margin rules",
            example: "tollgate margins list --tenant acme",
            method: Method::List,
            path: "/margins",
            arguments: &[
                filter("tenant", "Only rules that name this tenant"),
                filter("provider", "Only rules that name this provider"),
                filter("model", "Only rules that name this model"),
            ],
            columns: &["tenant", "provider", "model", "percent", "effective_from", "id"],
        },
        Verb {
            name: "get",
            about: "Show a margin rule",
            example: "tollgate margins get MARGIN-ID",
            method: Method::Get,
            path: "/margins/{margin}",
            arguments: &[object("margin", "The rule's id")],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Add a margin rule; the one that names a model holds before a provider's, that before a tenant's",
            example: "tollgate margins create 12.5 --tenant acme --provider openai",
            method: Method::Post,
            path: "/margins",
            arguments: &[
                first("percent", "Percent of the provider's price, from -100 (free of charge) to 10000"),
                field("tenant", Kind::Text, "Only for this tenant, by name or id"),
                field("provider", Kind::Text, "Only on this provider's prices"),
                field("model", Kind::Text, "Only on this model's price, by its name at the provider"),
                field("effective_from", Kind::Text, "From when it holds; from now on without it"),
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a margin rule that is not in force yet",
            example: "tollgate margins delete MARGIN-ID",
            method: Method::Delete,
            path: "/margins/{margin}",
            arguments: &[object("margin", "The rule's id")],
            columns: &[],
        },
    ],
};
