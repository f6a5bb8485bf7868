//! Verbs of budgets that are raised for a time, and of what end users spend.

use crate::admin_client::verbs::{Kind, Method, Verb, field, filter, object, required};

pub(super) const INCREASE: Verb = Verb {
    name: "increase",
    about: "Raise a budget for a time",
    example: "tollgate budgets increase BUDGET-ID --amount 50.00 --until 2027-01-01T00:00:00Z --reason launch",
    method: Method::Post,
    path: "/budgets/{budget}/increases",
    arguments: &[
        object("budget", "The budget's id"),
        required(field("amount", Kind::Text, "By how much, in USD")),
        required(field("until", Kind::Text, "Until when, such as 2027-01-01T00:00:00Z")),
        field("reason", Kind::Text, "Why; it stands in the audit log"),
    ],
    columns: &[],
};

pub(super) const INCREASES: Verb = Verb {
    name: "increases",
    about: "List every increase a budget ever had",
    example: "tollgate budgets increases BUDGET-ID",
    method: Method::List,
    path: "/budgets/{budget}/increases",
    arguments: &[object("budget", "The budget's id")],
    columns: &["amount", "until", "active", "reason", "created_by", "created_at", "ended_at", "id"],
};

pub(super) const END_INCREASE: Verb = Verb {
    name: "end-increase",
    about: "Take an increase back before its end; what was spent stays spent",
    example: "tollgate budgets end-increase BUDGET-ID INCREASE-ID",
    method: Method::Delete,
    path: "/budgets/{budget}/increases/{increase}",
    arguments: &[object("budget", "The budget's id"), object("increase", "The increase's id")],
    columns: &[],
};

pub(super) const END_USERS: Verb = Verb {
    name: "end-users",
    about: "List end users with what each has spent in the present period",
    example: "tollgate budgets end-users --project support-bot --window day",
    method: Method::List,
    path: "/end-users",
    arguments: &[
        filter("tenant", "Of all requests of this tenant"),
        filter("project", "Of the requests of this project"),
        filter("key", "Of the requests with this key"),
        filter("window", "hour, day, week, month or total; month where absent"),
        filter("user", "Only this end user"),
    ],
    columns: &["user", "window", "requests", "limit", "spent", "held", "remaining", "resets_at"],
};
