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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_one_line_per_change() {
        let change = |action: &str, kind: &str, name: &str, detail: &str| json!({"action": action, "kind": kind, "name": name, "detail": detail});
        let report = json!({"dry_run": false, "generated_secrets": [], "changes": [
            change("create", "tenant", "acme", ""),
            change("update", "key", "acme/bot/prod", "limits, models"),
            change("delete", "model", "old", ""),
            change("unchanged", "provider", "demo", ""),
        ]});
        let expected =
            "+ tenant acme\n~ key acme/bot/prod limits, models\n- model old\n3 changed, 1 unchanged\n";
        assert_eq!(difference(&report), expected);
        assert_eq!(difference(&json!({})), "0 changed, 0 unchanged\n");
    }

    #[test]
    fn the_reports_of_the_control_plane_are_understood() {
        use tollgate_control::{ApplyReport, Change, ChangeAction};
        let changes =
            [ChangeAction::Create, ChangeAction::Update, ChangeAction::Delete, ChangeAction::Unchanged];
        let of =
            |action| Change { action, kind: "key".to_owned(), name: "k".to_owned(), detail: String::new() };
        let report =
            ApplyReport { dry_run: true, changes: changes.map(of).to_vec(), generated_secrets: Vec::new() };
        let text = difference(&serde_json::to_value(&report).unwrap());
        assert_eq!(text, "+ key k\n~ key k\n- key k\n3 changed, 1 unchanged\n");
    }

    #[test]
    fn a_summary_counts() {
        let json = json!({"providers": [1], "tenants": [{"projects": [{"keys": [1, 2]}, {}]}]});
        assert_eq!(summary(&json), "1 provider, 0 models, 0 prices, 1 tenant, 2 projects, 2 keys");
    }
}
