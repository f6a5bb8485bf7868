//! Every operation of OpenAI's published document under our paths: each parameter arrives at the provider as it was
//! sent, or stands here with the reason why it does not.
//!
//! The listing of operations is written by `cargo xtask openai-openapi`, which also runs this with a newer one.

mod bodies;
mod kept;
mod listing;

use crate::harness::{Pod, Setup};

use self::kept::Keeping;
use self::listing::{Operation, listing};
use tollgate_domain::Meter;

/// How a parameter came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    /// As it was sent.
    Intact,
    /// In the provider's own words: a sealed id opened, a model by its name there.
    Opened,
    /// It asks the gateway, whose answer obeys it.
    Answered,
}

/// Parameters that do not arrive: the path, the name, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "/chat/completions",
        "web_search_options",
        "refused where the model is billed: a call may cost several searches that nothing tells or bounds",
    ),
    (
        "/responses",
        "conversation",
        "refused: a conversation belongs to the provider's account, where it has no owner",
    ),
    (
        "/responses/input_tokens",
        "conversation",
        "refused: a conversation belongs to the provider's account, where it has no owner",
    ),
    (
        "/responses",
        "context_management",
        "refused where the model is billed: what the provider compacts by itself has no bound that the request tells",
    ),
    (
        "/responses",
        "prompt",
        "refused where the model is billed: a template of the provider's account may bring tools without a bound",
    ),
];

/// Operations that are not served: the method, the path, and why.
const APART: &[(&str, &str, &str)] = &[
    (
        "DELETE",
        "/models/{model}",
        "not served: a model belongs to the provider's account, not to an application",
    ),
    ("GET", "/chat/completions", "not served: the vendor's list holds every project's completions"),
    ("*", "/chat/completions/", "not served: a kept completion has no owner at the vendor"),
    ("*", "/audio/voice_consents", "not served: voices have no owner at the vendor"),
    ("*", "/audio/voice_consents/", "not served: voices have no owner at the vendor"),
    ("*", "/audio/voices", "not served: voices have no owner at the vendor"),
];

fn apart(operation: &Operation) -> Option<&'static str> {
    let is_it = |(method, path, _): &&(&str, &str, &str)| {
        let below = path.ends_with('/') && operation.path.starts_with(path);
        (*method == "*" || *method == operation.method) && (operation.path == *path || below)
    };
    APART.iter().find(is_it).map(|(_, _, reason)| *reason)
}

fn exception(path: &str, name: &str) -> Option<&'static str> {
    let is_it = |(of, member, _): &&(&str, &str, &str)| *of == path && *member == name;
    EXCEPTIONS.iter().find(is_it).map(|(_, _, reason)| *reason)
}

#[derive(Debug, Default)]
struct Counts {
    operations: usize,
    operations_apart: usize,
    parameters: usize,
    intact: usize,
    opened: usize,
    answered: usize,
    exceptions: usize,
}

impl Counts {
    fn note(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Intact => self.intact += 1,
            Arrived::Opened => self.opened += 1,
            Arrived::Answered => self.answered += 1,
        }
    }
}

#[tokio::test]
async fn every_parameter_arrives_or_is_an_exception() {
    let prices = Meter::ALL.iter().map(|meter| (Some(*meter), 1_000_000)).collect();
    let plain = Pod::start(Setup { prices, ..Setup::default() }).await;
    let keeping = Keeping::start().await;
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    for operation in listing() {
        counts.operations += 1;
        counts.parameters += operation.parameters.len();
        if let Some(reason) = apart(&operation) {
            counts.operations_apart += 1;
            counts.exceptions += operation.parameters.len();
            println!("apart: {} {}: {reason}", operation.method, operation.path);
            keeping.is_refused(&operation).await;
            continue;
        }
        if operation.parameters.is_empty() {
            keeping.answers(&operation).await;
        }
        for parameter in &operation.parameters {
            let place = format!("{} {} {}", operation.method, operation.path, parameter.name);
            let arrived = match keeping.serves(&operation, parameter) {
                true => keeping.drive(&operation, parameter).await,
                false => bodies::send(&plain, &operation, parameter).await,
            };
            match (arrived, exception(&operation.path, &parameter.name)) {
                (Ok(arrived), None) => counts.note(arrived),
                (Err(why), Some(reason)) => {
                    counts.exceptions += 1;
                    println!("exception: {place}: {reason} ({why})");
                }
                (Err(why), None) => wrong.push(format!("{place}: {why}")),
                (Ok(_), Some(_)) => wrong.push(format!("{place} arrives: it is no exception any more")),
            }
        }
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts.operations >= 30 && counts.intact >= 150 && counts.opened >= 20, "{counts:?}");
}
