//! `models drift` and `models sync`: our prices against a map that the operator names.

mod load;
mod sync;

#[cfg(test)]
mod tests;

use std::io::Write;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Value, json};
use tollgate_catalog::{Catalog, Drift, DriftRow, price_text};

use super::arguments::{AdminArgs, OutputFormat};
use crate::admin_client::table;
use crate::config::Environment;

/// The resource below which the two stand.
const RESOURCE: &str = "models";
const DRIFT: &str = "drift";
const SYNC: &str = "sync";

const DRIFT_HELP: &str = "Example:
  tollgate models drift --map model_prices_and_context_window.json --vendor openai

Nothing is contacted but the map's URL. The map is LiteLLM's, or `tollgate models catalog --output json`.
Exits 0 where no price differs, 1 where one does or the map cannot be fetched, 2 where it is no map.";

const SYNC_HELP: &str = "Example:
  tollgate models sync --map model_prices_and_context_window.json --provider openai --approve

Compares what each configured provider's models cost now (your price rows, else the catalogue) with the map, shows
the price rows that would make up the difference, and writes them after a yes: each replaces its price from now on.
Rows that cannot be meant (a price per token taken for one per million, a step of more than ten times, …) are shown
and left out. Without a terminal --approve is the yes.
Exits 0 where nothing differs or everything was written, 1 where nothing was approved or a write failed, 2 where the
map is none.";

/// What the comparison is with, and of what.
#[derive(Debug, Args)]
struct MapArgs {
    /// The price map: a file, or an http(s) URL
    #[arg(long, value_name = "FILE|URL")]
    map: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DriftArgs {
    #[command(flatten)]
    map: MapArgs,
    /// Only this vendor's models
    #[arg(long, value_name = "NAME")]
    vendor: Option<String>,
}

#[derive(Debug, Args)]
struct SyncArgs {
    #[command(flatten)]
    map: MapArgs,
    /// Only this provider's models
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Write without asking
    #[arg(long)]
    approve: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The command tree with the two in it.
pub(super) fn extend(command: Command) -> Command {
    let drift = DriftArgs::augment_args(Command::new(DRIFT))
        .about("Compare the catalogue's prices with a price map")
        .after_help(DRIFT_HELP);
    let sync = SyncArgs::augment_args(Command::new(SYNC))
        .about("Turn the difference to a price map into price rows, after a yes")
        .after_help(SYNC_HELP);
    command.mut_subcommand(RESOURCE, |models| models.subcommand(drift).subcommand(sync))
}

/// Does what the command line says where it is one of the two; `None` where it is not.
pub(super) fn execute(matches: &ArgMatches, environment: &Environment) -> Option<anyhow::Result<()>> {
    let (name, arguments) = matches.subcommand().filter(|(name, _)| *name == RESOURCE)?.1.subcommand()?;
    match name {
        DRIFT => Some(run_drift(arguments)),
        SYNC => Some(run_sync(arguments, environment)),
        _ => None,
    }
}

fn run_drift(arguments: &ArgMatches) -> anyhow::Result<()> {
    let arguments = DriftArgs::from_arg_matches(arguments)?;
    let map = super::block_on(load::price_map(&arguments.map.map))?;
    let catalog = Catalog::embedded()?;
    if let Some(vendor) = &arguments.vendor {
        known_vendor(&catalog, vendor)?;
    }
    let mut drift = Drift::of_catalog(&catalog, &map);
    if let Some(vendor) = &arguments.vendor {
        drift.rows.retain(|row| row.vendor == *vendor);
        drift.only_ours.retain(|model| model.split('/').next() == Some(vendor));
    }
    print(&if arguments.map.json { format!("{}\n", drift_json(&drift)) } else { drift_table(&drift) })?;
    let n_rows = drift.rows.len();
    if n_rows > 0 {
        anyhow::bail!(
            "{n_rows} {} from the map",
            if n_rows == 1 { "price differs" } else { "prices differ" }
        );
    }
    Ok(())
}

fn run_sync(arguments: &ArgMatches, environment: &Environment) -> anyhow::Result<()> {
    let arguments = SyncArgs::from_arg_matches(arguments)?;
    let client = arguments.admin.client(environment)?;
    super::block_on(async {
        let map = load::price_map(&arguments.map.map).await?;
        let plan = sync::plan(&client, &map, arguments.provider.as_deref()).await?;
        let as_json = arguments.map.json || arguments.admin.output == OutputFormat::Json;
        let mut written = 0;
        if !as_json {
            print(&sync::plan_table(&plan))?;
        }
        sync::tell_refused(&plan)?;
        let result = sync::write_approved(&client, &plan, arguments.approve, &mut written).await;
        if as_json {
            print(&format!("{}\n", sync::plan_json(&plan, written)))?;
        }
        result
    })
}

fn known_vendor(catalog: &Catalog, name: &str) -> Result<(), super::UsageError> {
    if catalog.vendor(name).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = catalog.vendors().iter().map(|vendor| vendor.name.as_str()).collect();
    let known = known.join(", ");
    Err(super::UsageError::new(format!("the catalogue has no vendor `{name}`; it has {known}")))
}

// === output ===

fn row_json(row: &DriftRow, owner: &str) -> Value {
    let shown = |price| price_text(row.meter, price);
    json!({
        owner: row.vendor,
        "model": row.model,
        "meter": row.meter.name(),
        "service_tier": row.tier.name(),
        "context_from": row.context_from,
        "ours": row.ours.map(shown),
        "theirs": shown(row.theirs),
        "difference_percent": row.relative_percent(),
    })
}

const COLUMNS: [&str; 7] =
    ["model", "meter", "service_tier", "context_from", "ours", "theirs", "difference_percent"];

fn rows_table(rows: &[DriftRow], owner: &'static str) -> String {
    let rows: Vec<Value> = rows.iter().map(|row| row_json(row, owner)).collect();
    let columns: Vec<&str> = std::iter::once(owner).chain(COLUMNS).collect();
    table::of_rows(&rows, &columns)
}

fn drift_table(drift: &Drift) -> String {
    let mut text = rows_table(&drift.rows, "vendor");
    let (n_models, n_same) = (drift.n_models_compared, drift.n_prices_same);
    let (n_rows, n_only_ours) = (drift.rows.len(), drift.only_ours.len());
    text.push_str(&format!(
        "{n_models} models compared: {n_same} prices agree, {n_rows} differ; {n_only_ours} models are not in the map\n"
    ));
    text
}

fn drift_json(drift: &Drift) -> Value {
    json!({
        "models_compared": drift.n_models_compared,
        "prices_same": drift.n_prices_same,
        "differences": drift.rows.iter().map(|row| row_json(row, "vendor")).collect::<Vec<_>>(),
        "only_ours": drift.only_ours,
    })
}

/// Writes to stdout; a reader that left (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
