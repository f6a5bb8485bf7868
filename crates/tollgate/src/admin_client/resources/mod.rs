//! The admin API as a table: every resource, verb, argument and column.

mod increases;
mod margins;
mod money;
mod reports;
mod routing;
mod tenancy;
mod webhooks;

use super::verbs::{Argument, Kind, Resource, inner};

/// Every admin resource, in the order of `tollgate --help`.
pub(crate) const RESOURCES: &[Resource] = &[
    tenancy::TENANTS,
    tenancy::PROJECTS,
    tenancy::KEYS,
    routing::PROVIDERS,
    routing::MODELS,
    money::PRICES,
    margins::MARGINS,
    money::BUDGETS,
    money::CREDITS,
    money::STATEMENTS,
    reports::USAGE,
    reports::REQUESTS,
    reports::HOLDS,
    reports::AUDIT,
    webhooks::WEBHOOKS,
];

const REQUESTS_PER_MINUTE: Argument = inner(
    "requests_per_minute",
    "limits.requests_per_minute",
    Kind::Whole,
    "Requests in any minute, at most",
);
const TOKENS_PER_MINUTE: Argument =
    inner("tokens_per_minute", "limits.tokens_per_minute", Kind::Whole, "Tokens in any minute, at most");
const CONCURRENT_REQUESTS: Argument =
    inner("concurrent_requests", "limits.concurrent_requests", Kind::Whole, "Requests in flight, at most");
