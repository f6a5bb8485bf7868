//! Enum values by name, both ways: the compiler sees to it that none is forgotten on the way out, and an
//! unknown number is refused on the way in.

use tollgate_domain::{BudgetWindow, Surface};
use tollgate_policy::{Billing, Dialect, KeyState, ObjectKind, RetryOn, Strategy};

use super::ConvertError;
use crate::v1;

macro_rules! enum_pairs {
    ($($to_wire:ident, $from_wire:ident: $policy:ident, $wire:ident { $($variant:ident),* })*) => {$(
        pub(super) const fn $to_wire(value: $policy) -> i32 {
            match value { $($policy::$variant => v1::$wire::$variant as i32,)* }
        }

        pub(super) fn $from_wire(value: i32, object: &str, field: &'static str) -> Result<$policy, ConvertError> {
            match v1::$wire::try_from(value) {
                $(Ok(v1::$wire::$variant) => Ok($policy::$variant),)*
                _ => Err(ConvertError::new(object, field, format_args!("has the unknown value {value}"))),
            }
        }
    )*};
}

enum_pairs! {
    kind_to_wire, kind_from_wire: ObjectKind, ObjectKind {
        Settings, Provider, Price, Margin, Model, Tenant, Project, Key, Budget
    }
    surface_to_wire, surface_from_wire: Surface, Surface {
        Chat, Completions, Embeddings, Moderations, Rerank, Images, ImageEdits, ImageVariations, Speech,
        Transcriptions, Translations, Passthrough, Files, Batches, Responses
    }
    dialect_to_wire, dialect_from_wire: Dialect, Dialect {
        Openai, AzureOpenai, Anthropic, Gemini, Cohere, Bedrock, Vertex, Demo
    }
    strategy_to_wire, strategy_from_wire: Strategy, Strategy { Priority }
    retry_on_to_wire, retry_on_from_wire: RetryOn, RetryOn { Timeout, Connect, RateLimited, ServerError }
    billing_to_wire, billing_from_wire: Billing, Billing { Prepaid, Postpaid }
    key_state_to_wire, key_state_from_wire: KeyState, KeyState { Active, Blocked, Revoked }
    window_to_wire, window_from_wire: BudgetWindow, BudgetWindow { Hour, Day, Week, Month, Total }
}
