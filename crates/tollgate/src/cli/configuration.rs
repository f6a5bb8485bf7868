//! `check`, `apply` and `export`.

use std::io::Write;

use serde_json::Value;

use super::OutputFormat;
use super::arguments::{ApplyArgs, CheckArgs, ExportArgs};
use crate::admin_client::{AdminClient, AdminRequest, table};
use crate::config::{self, Environment, LoadedConfig};

/// Prints what the file holds, or every problem.
pub(super) fn check(arguments: &CheckArgs, environment: &Environment) -> anyhow::Result<()> {
    let config = config::load(&arguments.file, environment)?;
    writeln!(std::io::stdout().lock(), "ok: {}", summary(&config.to_json()?))?;
    Ok(())
}

/// `2 providers, 1 model, 3 tenants, 4 projects, 9 keys`.
fn summary(json: &Value) -> String {
    let length = |value: Option<&Value>| value.and_then(Value::as_array).map_or(0, Vec::len);
    let items =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let tenants = items(json, "tenants");
    let projects: Vec<Value> = tenants.iter().flat_map(|tenant| items(tenant, "projects")).collect();
    let counts = [
        (length(json.get("providers")), "provider"),
        (length(json.get("models")), "model"),
        (length(json.get("prices")), "price"),
        (tenants.len(), "tenant"),
        (projects.len(), "project"),
        (projects.iter().map(|project| length(project.get("keys"))).sum(), "key"),
    ];
    let texts: Vec<String> = counts
        .iter()
        .map(|(count, name)| format!("{count} {name}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    texts.join(", ")
}

/// Sends the checked file and prints the difference.
pub(super) async fn apply(
    arguments: &ApplyArgs,
    config: &LoadedConfig,
    client: &AdminClient,
) -> anyhow::Result<()> {
    let mut request = AdminRequest::post("/config/apply", config.to_json()?);
    request.query.push(("dry_run".to_owned(), arguments.dry_run.to_string()));
    request.query.push(("prune".to_owned(), arguments.prune.to_string()));
    let answer = client.send(&request).await?;
    let mut stdout = std::io::stdout().lock();
    if arguments.admin.output == OutputFormat::Json {
        writeln!(stdout, "{}", answer.text)?;
        return Ok(());
    }
    let report = answer.json()?;
    write!(stdout, "{}", difference(&report))?;
    let secrets = report.get("generated_secrets").and_then(Value::as_array).cloned().unwrap_or_default();
    if !secrets.is_empty() {
        writeln!(stdout, "\n{}", table::of_rows(&secrets, &[]).trim_end())?;
        writeln!(std::io::stderr().lock(), "these secrets are shown only now; keep them")?;
    }
    if arguments.dry_run {
        writeln!(std::io::stderr().lock(), "dry run: nothing was changed")?;
    }
    Ok(())
}

/// One line per change, `+` for create, `~` for update, `-` for delete; what stays is only counted.
fn difference(report: &Value) -> String {
    let changes = report.get("changes").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut text = String::new();
    let mut unchanged = 0_usize;
    for change in &changes {
        let field = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or_default();
        let sign = match field("action") {
            "create" => '+',
            "update" => '~',
            "delete" => '-',
            _ => {
                unchanged += 1;
                continue;
            }
        };
        let line = format!("{sign} {} {} {}", field("kind"), field("name"), field("detail"));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&format!("{} changed, {unchanged} unchanged\n", changes.len() - unchanged));
    text
}

/// Prints the running configuration: as YAML, or as the API's JSON.
pub(super) async fn export(arguments: &ExportArgs, client: &AdminClient) -> anyhow::Result<()> {
    let answer = client.send(&AdminRequest::get("/config/export")).await?;
    let mut stdout = std::io::stdout().lock();
    match arguments.admin.output {
        OutputFormat::Json => writeln!(stdout, "{}", answer.text)?,
        OutputFormat::Table => write!(stdout, "{}", config::to_yaml(&answer.json()?))?,
    }
    Ok(())
}
