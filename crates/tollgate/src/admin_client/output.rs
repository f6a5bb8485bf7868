//! Runs a verb and prints what comes back: data on stdout, remarks on stderr.

use std::io::Write;

use clap::ArgMatches;
use hyper::StatusCode;
use serde_json::Value;

use super::command::LIMIT;
use super::http::{AdminClient, AdminRequest, Answer};
use super::verbs::{Method, Verb};
use super::{request, table};
use crate::cli::OutputFormat;

/// Rows asked for at once; more would only make the first one wait.
const PAGE_ROWS: u64 = 200;
/// Longer answers that are no JSON are not repeated in errors.
const MAX_SHOWN_CHARACTERS: usize = 300;

/// Calls the admin API and prints the answer.
pub(crate) async fn call(
    client: &AdminClient,
    verb: &'static Verb,
    arguments: &ArgMatches,
    output: OutputFormat,
) -> anyhow::Result<()> {
    print(&run(client, verb, arguments, output).await?)
}

/// Calls the admin API and gives the text for stdout.
pub(super) async fn run(
    client: &AdminClient,
    verb: &'static Verb,
    arguments: &ArgMatches,
    output: OutputFormat,
) -> anyhow::Result<String> {
    let mut request = request::of_arguments(verb, arguments)?;
    if verb.method == Method::List {
        let limit = arguments.get_one::<u64>(LIMIT).copied();
        return list(client, verb, request, limit, output).await;
    }
    if verb.method == Method::Patch {
        keep_siblings(client, &request::inner_objects(verb, arguments), &mut request).await?;
    }
    let answer = client.send(&request).await?;
    one(verb, &answer, output)
}

/// The API replaces an inner object as a whole: what no flag names (the token limit, when only the request
/// limit is changed) is taken over from the present one.
async fn keep_siblings(
    client: &AdminClient,
    parents: &[&str],
    request: &mut AdminRequest,
) -> anyhow::Result<()> {
    if parents.is_empty() {
        return Ok(());
    }
    let body = request.body.get_or_insert_with(|| Value::Object(serde_json::Map::new()));
    let present = client.send(&AdminRequest::get(&request.path)).await?.json()?;
    for parent in parents {
        let Some(changed) = body.get_mut(*parent).and_then(Value::as_object_mut) else { continue };
        for (name, value) in present.get(*parent).and_then(Value::as_object).into_iter().flatten() {
            changed.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

/// Writes to stdout; a reader that left (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn one(verb: &Verb, answer: &Answer, output: OutputFormat) -> anyhow::Result<String> {
    if output == OutputFormat::Json || !answer.is_json {
        return Ok(with_line_break(&answer.text));
    }
    let value = answer.json()?;
    if value.get("secret").is_some_and(Value::is_string) {
        writeln!(std::io::stderr().lock(), "the secret is shown only now; keep it")?;
    }
    if value.is_null() {
        writeln!(std::io::stderr().lock(), "done")?;
        return Ok(String::new());
    }
    Ok(match rows_of(&value) {
        Some(rows) => rows_as_table(rows, verb)?,
        None => table::of_object(&value),
    })
}

fn rows_as_table(rows: &[Value], verb: &Verb) -> anyhow::Result<String> {
    if rows.is_empty() {
        writeln!(std::io::stderr().lock(), "none found")?;
    }
    Ok(table::of_rows(rows, verb.columns))
}

fn rows_of(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().or_else(|| value.get("data").or_else(|| value.get("rows")).and_then(Value::as_array))
}

/// Follows `next` until the end or the limit. A single page is printed as JSON exactly as it came.
async fn list(
    client: &AdminClient,
    verb: &Verb,
    mut request: AdminRequest,
    limit: Option<u64>,
    output: OutputFormat,
) -> anyhow::Result<String> {
    let wanted = limit.unwrap_or(u64::MAX);
    let filters = request.query.clone();
    let mut rows: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    let mut n_pages = 0_u32;
    loop {
        let left = wanted.saturating_sub(rows.len() as u64);
        request.query.clone_from(&filters);
        request.query.push(("limit".to_owned(), left.min(PAGE_ROWS).to_string()));
        request.query.extend(after.map(|after| ("after".to_owned(), after)));
        let answer = client.send(&request).await?;
        n_pages += 1;
        let value = answer.json()?;
        let Some(page) = rows_of(&value) else { return one(verb, &answer, output) };
        let next = value.get("next").and_then(Value::as_str).map(str::to_owned);
        let is_last = next.is_none() || page.is_empty() || rows.len() as u64 + page.len() as u64 >= wanted;
        if is_last && n_pages == 1 && output == OutputFormat::Json {
            return Ok(with_line_break(&answer.text));
        }
        rows.extend(page.iter().cloned());
        after = next;
        if is_last {
            break;
        }
    }
    Ok(match output {
        OutputFormat::Json => format!("{}\n", serde_json::json!({ "data": rows, "next": after })),
        OutputFormat::Table => rows_as_table(&rows, verb)?,
    })
}

fn with_line_break(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// The API's sentence, then one line per field it refused.
pub(super) fn explain_refusal(status: StatusCode, text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        let shown: String = text.chars().take(MAX_SHOWN_CHARACTERS).collect();
        return format!("the admin API answered {status}: {}", shown.trim())
            .trim_end_matches(": ")
            .to_owned();
    };
    let error = value.get("error").filter(|error| error.is_object()).unwrap_or(&value);
    let first = |names: &[&str]| {
        names.iter().find_map(|name| error.get(*name).and_then(Value::as_str)).map(str::to_owned)
    };
    let mut message = first(&["message", "detail", "title"])
        .or_else(|| value.get("error").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| format!("the admin API answered {status}"));
    let details = ["fields", "problems", "errors", "details"];
    for detail in details.iter().filter_map(|name| error.get(*name).and_then(Value::as_array)).flatten() {
        // The sentence of a single problem often is that problem's.
        if detail.get("message").and_then(Value::as_str).is_none_or(|text| !message.contains(text)) {
            message.push_str("\n  ");
            message.push_str(&explain_field(detail));
        }
    }
    message
}

fn explain_field(detail: &Value) -> String {
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    match (text("path").or_else(|| text("field")), text("message")) {
        (Some(path), Some(message)) if !path.is_empty() => format!("{path}: {message}"),
        (_, Some(message)) => message.to_owned(),
        _ => detail.as_str().map_or_else(|| detail.to_string(), str::to_owned),
    }
}
