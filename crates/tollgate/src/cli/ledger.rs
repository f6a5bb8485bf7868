//! `ledger verify`: the proof of the books, begun and waited for; `ledger drift`: the same of the ledger's counters.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::Value;

use super::arguments::{AdminArgs, OutputFormat};
use crate::admin_client::{AdminClient, AdminRequest};
use crate::config::Environment;

/// The resource below which it stands.
const RESOURCE: &str = "ledger";
const VERIFY: &str = "verify";
const PATH: &str = "/ledger/verify";
const DRIFT: &str = "drift";
const DRIFT_PATH: &str = "/ledger/drift";
const REPAIR: &str = "repair";
/// Between two looks at a verification under way.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const VERIFY_HELP: &str = "Example:
  tollgate ledger verify

Derives every balance and sum anew from the journal's rows and compares: each request's cost with its charge lines,
each column with its event, each credit with its double entry, the running sums with the rows, and, where the ledger
answers, its wallets with the journal. Reads everything once; changes nothing.
Exits 0 with what was looked at where all is right, 1 naming each row that is not.";

const DRIFT_HELP: &str = "Example:
  tollgate ledger drift --repair

Compares each tenant's counters in the ledger, of its wallet and of its budgets in their present periods, with what
the journal says; what differs twice in a row is a drift. With --repair such a tenant is written anew, from the journal
and the holds that the pods report. The control plane does the same every night (--ledger-drift-hour).
Exits 0 where nothing differs or all of it was repaired, 1 otherwise.";

/// The command tree with it.
pub(super) fn extend(command: Command) -> Command {
    let verify = AdminArgs::augment_args(Command::new(VERIFY))
        .about("Derive every balance and sum anew and name each row that is wrong")
        .after_help(VERIFY_HELP);
    let repair = Arg::new(REPAIR)
        .long(REPAIR)
        .action(ArgAction::SetTrue)
        .help("Write tenants whose counters differ anew; else they are only named");
    let drift = AdminArgs::augment_args(Command::new(DRIFT).arg(repair))
        .about("Compare the ledger's counters with the journal and name each that differs")
        .after_help(DRIFT_HELP);
    let ledger = Command::new(RESOURCE)
        .about("The books: journal and ledger")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help("Example:\n  tollgate ledger verify")
        .subcommand(verify)
        .subcommand(drift);
    command.subcommand(ledger)
}

/// Does what the command line says where it is this; `None` where it is not.
pub(super) fn execute(matches: &ArgMatches, environment: &Environment) -> Option<anyhow::Result<()>> {
    let (_, ledger) = matches.subcommand().filter(|(name, _)| *name == RESOURCE)?;
    match ledger.subcommand()? {
        (VERIFY, arguments) => Some(verify(arguments, environment)),
        (DRIFT, arguments) => Some(drift(arguments, environment)),
        _ => None,
    }
}

fn drift(arguments: &ArgMatches, environment: &Environment) -> anyhow::Result<()> {
    let admin = AdminArgs::from_arg_matches(arguments)?;
    let client = admin.client(environment)?;
    let view = super::block_on(compared(&client, arguments.get_flag(REPAIR)))?;
    print(&if admin.output == OutputFormat::Json { format!("{view:#}\n") } else { drift_table(&view) })?;
    let drifts = view["drifts"].as_array().map_or(&[][..], Vec::as_slice);
    let n_open = drifts.iter().filter(|drift| drift["repaired"] != true).count() as u64
        + view["more_drifts"].as_u64().unwrap_or(0);
    match view["state"].as_str() {
        Some("done") if n_open == 0 => Ok(()),
        Some("done") => anyhow::bail!("{n_open} counters of the ledger are not what the journal says"),
        Some("failed") => {
            let error = view["error"].as_str().unwrap_or("no reason given");
            anyhow::bail!("the ledger was not compared: {error}")
        }
        _ => anyhow::bail!("the control plane was started anew meanwhile: run it again"),
    }
}

async fn compared(client: &AdminClient, repair: bool) -> anyhow::Result<Value> {
    let query = vec![(REPAIR.to_owned(), repair.to_string())];
    let begin = AdminRequest { query, ..AdminRequest::post(DRIFT_PATH, serde_json::json!({})) };
    let mut view = client.send(&begin).await?.json()?;
    while view["state"] == "running" {
        tokio::time::sleep(LOOK_EVERY).await;
        view = client.send(&AdminRequest::get(DRIFT_PATH)).await?.json()?;
    }
    Ok(view)
}

fn drift_table(view: &Value) -> String {
    let mut text = String::new();
    for drift in view["drifts"].as_array().into_iter().flatten() {
        let field = |name: &str| drift[name].as_str().unwrap_or_default();
        let budget = drift["budget_id"].as_str().map(|id| format!(" {id}")).unwrap_or_default();
        let end = if drift["repaired"] == true { ", repaired" } else { "" };
        let (tenant, counter) = (field("tenant"), field("counter"));
        let (expected, found) = (field("expected"), field("found"));
        let _ = writeln!(text, "{tenant}: {counter}{budget}: expected {expected}, found {found}{end}");
    }
    let more = view["more_drifts"].as_u64().unwrap_or(0);
    if more > 0 {
        let _ = writeln!(text, "… and {more} more");
    }
    for (name, counted) in [("tenants", "tenants"), ("tenants not compared", "tenants_not_compared")] {
        let _ = writeln!(text, "{name:<28}{:>12}", view[counted].as_u64().unwrap_or(0));
    }
    let _ = writeln!(text, "{:<28}{:>12}", "state", view["state"].as_str().unwrap_or("unknown"));
    text
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn verify(arguments: &ArgMatches, environment: &Environment) -> anyhow::Result<()> {
    let admin = AdminArgs::from_arg_matches(arguments)?;
    let client = admin.client(environment)?;
    let view = super::block_on(verified(&client))?;
    let text = if admin.output == OutputFormat::Json { format!("{view:#}\n") } else { table(&view) };
    print(&text)?;
    match view["state"].as_str() {
        Some("green") => Ok(()),
        Some("red") => {
            let n_told = view["findings"].as_array().map_or(0, Vec::len) as u64;
            let n_all = n_told + view["more_findings"].as_u64().unwrap_or(0);
            let are_wrong = if n_all == 1 { "value is wrong" } else { "values are wrong" };
            anyhow::bail!("the books are not right: {n_all} {are_wrong}")
        }
        Some("failed") => {
            anyhow::bail!(
                "the books were not verified: {}",
                view["error"].as_str().unwrap_or("no reason given")
            )
        }
        _ => anyhow::bail!("the control plane was started anew meanwhile: run it again"),
    }
}

/// One that is under way is waited for as well: it reads what is there now, too.
async fn verified(client: &AdminClient) -> anyhow::Result<Value> {
    let body = serde_json::json!({});
    let mut view = client.send(&AdminRequest::post(PATH, body)).await?.json()?;
    while view["state"] == "running" {
        tokio::time::sleep(LOOK_EVERY).await;
        view = client.send(&AdminRequest::get(PATH)).await?.json()?;
    }
    Ok(view)
}

fn table(view: &Value) -> String {
    let mut text = String::new();
    for finding in view["findings"].as_array().into_iter().flatten() {
        let field = |name: &str| finding[name].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {}: {}: expected {}, found {}",
            field("table"),
            field("id"),
            field("what"),
            field("expected"),
            field("found")
        );
    }
    let more = view["more_findings"].as_u64().unwrap_or(0);
    if more > 0 {
        let _ = writeln!(text, "… and {more} more");
    }
    for (name, counted) in [
        ("requests", "requests"),
        ("credits", "credits"),
        ("double entries", "entries"),
        ("tenants' totals", "wallet_totals"),
        ("quarter-hour sums", "spend_quarters"),
        ("sums of end users", "end_user_quarters"),
        ("ledger wallets", "wallets"),
        ("ledger wallets not compared", "wallets_not_compared"),
    ] {
        let _ = writeln!(text, "{name:<28}{:>12}", view[counted].as_u64().unwrap_or(0));
    }
    let _ = writeln!(text, "{:<28}{:>12}", "state", view["state"].as_str().unwrap_or("unknown"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drifts_are_named_before_the_counts() {
        let drift = serde_json::json!({
            "tenant": "acme", "counter": "budget_settled", "budget_id": "b-1", "expected": "0.5", "found": "0.4",
            "repaired": true
        });
        let text = drift_table(&serde_json::json!({ "state": "done", "drifts": [drift], "tenants": 2 }));
        let first = text.lines().next().unwrap();
        assert_eq!(first, "acme: budget_settled b-1: expected 0.5, found 0.4, repaired");
        assert!(text.ends_with("done\n"), "{text}");
    }

    #[test]
    fn findings_are_named_before_the_counts() {
        let finding = serde_json::json!({
            "table": "requests", "id": "r-1", "what": "cost by its charge lines", "expected": "0.5", "found": "0.4"
        });
        let view = serde_json::json!({
            "state": "red", "requests": 7, "findings": [finding], "more_findings": 3, "wallets": 2
        });
        let text = table(&view);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "requests r-1: cost by its charge lines: expected 0.5, found 0.4");
        assert_eq!(lines[1], "… and 3 more");
        assert!(lines[2].starts_with("requests") && lines[2].ends_with(" 7"), "{text}");
        assert!(text.ends_with("red\n"), "{text}");
    }
}
