//! Prices, budgets and credits. Money is a decimal in USD; a price is USD per million units, or per unit
//! for requests, images and the like.

use super::increases::{END_INCREASE, END_USERS, INCREASE, INCREASES};
use crate::admin_client::verbs::{
    Argument, Kind, Method, Resource, Verb, field, filter, first, object, parent, required, with_default,
};

pub(super) const PRICES: Resource = Resource {
    name: "prices",
    about: "Prices over the built-in catalogue",
    verbs: &[
        Verb {
            name: "list",
            about: "List price rows",
            example: "tollgate prices list --provider openai --model gpt-5-mini",
            method: Method::List,
            path: "/prices",
            arguments: &[
                filter("provider", "Only this provider's"),
                filter("model", "Only this model's"),
                filter("tenant", "Only rows for this tenant"),
            ],
            columns: &[
                "provider",
                "model",
                "meter",
                "price",
                "service_tier",
                "context_from",
                "free",
                "tenant",
                "effective_from",
                "id",
            ],
        },
        Verb {
            name: "create",
            about: "Add a price row; rows are never changed, a later one takes over",
            example: "tollgate prices create --provider openai --model gpt-5-mini --meter input --price 0.25",
            method: Method::Post,
            path: "/prices",
            arguments: &[
                required(field("provider", Kind::Text, "The provider's name")),
                required(field("model", Kind::Text, "The model's name there, or * for all without a row")),
                field("tenant", Kind::Text, "Only for this tenant, by name or id"),
                field(
                    "meter",
                    Kind::Text,
                    "What it prices: input, cached_input, output, reasoning, request, …",
                ),
                field(
                    "price",
                    Kind::Text,
                    "USD per million tokens, or per unit for requests, images and the like",
                ),
                field("free", Kind::Switch, "Nothing is charged; instead of a meter and a price"),
                field("service_tier", Kind::Text, "standard, flex, priority or batch"),
                field("context_from", Kind::Whole, "From how many prompt tokens on"),
                field(
                    "effective_from",
                    Kind::Text,
                    "From when it holds; without it a first row always held, and one that replaces another holds from now",
                ),
            ],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a price row that is not in force yet",
            example: "tollgate prices delete PRICE-ID",
            method: Method::Delete,
            path: "/prices/{price}",
            arguments: &[object("price", "The row's id")],
            columns: &[],
        },
    ],
};

const ALERT_AT: Argument =
    field("alert_at", Kind::Json, "Shares of the limit at which an alert is raised, such as [0.5,0.8,1]");
const BUDGET: Argument = object("budget", "The budget's id");
const TENANT: Argument = field("tenant", Kind::Text, "What it limits: a tenant");
const PROJECT: Argument = field("project", Kind::Text, "What it limits: a project");
const KEY: Argument = field("key", Kind::Text, "What it limits: a key");

pub(super) const BUDGETS: Resource = Resource {
    name: "budgets",
    about: "How much a tenant, project or key may spend",
    verbs: &[
        Verb {
            name: "list",
            about: "List budgets with what is spent and left",
            example: "tollgate budgets list --tenant acme",
            method: Method::List,
            path: "/budgets",
            arguments: &[
                filter("tenant", "Only this tenant's"),
                filter("project", "Only this project's"),
                filter("key", "Only this key's"),
            ],
            columns: &[
                "scope",
                "owner",
                "tenant",
                "window",
                "effective_limit",
                "spent",
                "held",
                "remaining",
                "resets_at",
                "id",
            ],
        },
        Verb {
            name: "get",
            about: "Show a budget",
            example: "tollgate budgets get BUDGET-ID",
            method: Method::Get,
            path: "/budgets/{budget}",
            arguments: &[BUDGET],
            columns: &[],
        },
        Verb {
            name: "create",
            about: "Create a budget",
            example: "tollgate budgets create --tenant acme --limit 500.00 --window month",
            method: Method::Post,
            path: "/budgets",
            arguments: &[
                TENANT,
                PROJECT,
                KEY,
                required(field("limit", Kind::Text, "USD per window")),
                required(field("window", Kind::Text, "hour, day, week, month or total")),
                ALERT_AT,
            ],
            columns: &[],
        },
        Verb {
            name: "update",
            about: "Change a budget's limit or alerts; another window is another budget",
            example: "tollgate budgets update BUDGET-ID --limit 750.00",
            method: Method::Patch,
            path: "/budgets/{budget}",
            arguments: &[BUDGET, field("limit", Kind::Text, "USD per window"), ALERT_AT],
            columns: &[],
        },
        Verb {
            name: "delete",
            about: "Delete a budget",
            example: "tollgate budgets delete BUDGET-ID",
            method: Method::Delete,
            path: "/budgets/{budget}",
            arguments: &[BUDGET],
            columns: &[],
        },
        INCREASE,
        INCREASES,
        END_INCREASE,
        END_USERS,
    ],
};

pub(super) const CREDITS: Resource = Resource {
    name: "credits",
    about: "Money in a prepaid tenant's wallet",
    verbs: &[
        Verb {
            name: "list",
            about: "List a tenant's credits",
            example: "tollgate credits list --tenant acme",
            method: Method::List,
            path: "/tenants/{tenant}/credits",
            arguments: &[parent("tenant", "The tenant's name or id")],
            columns: &["created_at", "kind", "amount", "reference", "expires_at", "corrects", "actor", "id"],
        },
        Verb {
            name: "grant",
            about: "Add to a tenant's wallet; the same reference counts once",
            example: "tollgate credits grant 25.00 --tenant acme --kind topup --reference invoice-2041",
            method: Method::Post,
            path: "/tenants/{tenant}/credits",
            arguments: &[
                first("amount", "USD; negative only for refunds and adjustments"),
                parent("tenant", "The tenant's name or id"),
                with_default(field("kind", Kind::Text, "grant, topup, refund or adjustment"), "grant"),
                field("reference", Kind::Text, "Your number for it"),
                field(
                    "expires_at",
                    Kind::Text,
                    "When what is left of a grant or top-up lapses, such as 2027-01-01T00:00:00Z",
                ),
                field("corrects", Kind::Text, "The id of the credit that a refund or adjustment corrects"),
            ],
            columns: &[],
        },
    ],
};

pub(super) const STATEMENTS: Resource = Resource {
    name: "statements",
    about: "A tenant's month: balances, credits and charges",
    verbs: &[Verb {
        name: "",
        about: "A tenant's month: opening balance, credits, charges by project, model and day, closing balance",
        example: "tollgate statements --tenant acme --month 2026-11 --format html > acme-2026-11.html",
        method: Method::Get,
        path: "/tenants/{tenant}/statement",
        arguments: &[
            parent("tenant", "The tenant's name or id"),
            filter(
                "month",
                "The month in the tenant's time zone, such as 2026-11; the present one without it",
            ),
            filter("format", "csv, or html for a page to print"),
        ],
        columns: &[],
    }],
};
