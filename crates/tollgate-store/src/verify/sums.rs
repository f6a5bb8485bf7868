//! The running sums over requests.

use tollgate_domain::UnixMillis;
use uuid::Uuid;

use super::{JournalProof, MAX_FINDINGS, shown};
use crate::StoreError;
use crate::db::{Row, Sql as _};
use crate::journal::QUARTER_MS;
use crate::store::Tx;

pub(super) async fn verify_totals(tx: &mut Tx, proof: &mut JournalProof) -> Result<(), StoreError> {
    proof.wallet_totals = count(tx, "SELECT COUNT(*) AS n FROM wallet_totals").await?;
    let query = tx.sql(
        "SELECT COALESCE(derived.tenant_id, stored.tenant_id) AS tenant_id, derived.amount, derived.n,
             stored.charged_nano_usd AS stored_amount, stored.charges AS stored_n
         FROM (SELECT tenant_id, CAST(SUM(cost_nano_usd) AS BIGINT) AS amount, COUNT(*) AS n
               FROM requests WHERE cost_nano_usd > 0 GROUP BY tenant_id) AS derived
             FULL JOIN wallet_totals AS stored ON stored.tenant_id = derived.tenant_id
         WHERE derived.amount IS DISTINCT FROM stored.charged_nano_usd
             OR derived.n IS DISTINCT FROM stored.charges
         ORDER BY 1",
    );
    for row in query.fetch_all().await? {
        let tenant: Uuid = row.get("tenant_id")?;
        compare(&row, ("wallet_totals", &tenant.to_string()), ["charged_nano_usd", "charges"], proof)?;
    }
    Ok(())
}

pub(super) async fn verify_quarters(tx: &mut Tx, proof: &mut JournalProof) -> Result<(), StoreError> {
    proof.spend_quarters = count(tx, "SELECT COUNT(*) AS n FROM spend_quarters").await?;
    // The constants stand in the text: nothing of it comes from outside.
    let quarter =
        format!("admitted_at_ms - admitted_at_ms % {QUARTER_MS} AS starts_at, cost_nano_usd AS cost");
    // Not the view's columns: it stops at an event that is none.
    let (project, key) = if tx.is_postgres() {
        ("project_id", "key_id")
    } else {
        (
            "CASE WHEN json_valid(event) THEN unhex(event ->> '$.project', '-') END",
            "CASE WHEN json_valid(event) THEN unhex(event ->> '$.key', '-') END",
        )
    };
    let text = format!(
        "SELECT COALESCE(derived.owner_id, stored.owner_id) AS owner_id,
             COALESCE(derived.starts_at, stored.quarter_starts_at_ms) AS starts_at, derived.amount, derived.n,
             stored.cost_nano_usd AS stored_amount, stored.requests AS stored_n
         FROM (SELECT owner_id, starts_at, CAST(SUM(cost) AS BIGINT) AS amount, COUNT(*) AS n
               FROM (SELECT tenant_id AS owner_id, {quarter} FROM requests
                     UNION ALL SELECT {project} AS owner_id, {quarter} FROM requests
                     UNION ALL SELECT {key} AS owner_id, {quarter} FROM requests) AS parts
               WHERE owner_id IS NOT NULL
               GROUP BY owner_id, starts_at) AS derived
             FULL JOIN spend_quarters AS stored
                 ON stored.owner_id = derived.owner_id AND stored.quarter_starts_at_ms = derived.starts_at
         WHERE derived.amount IS DISTINCT FROM stored.cost_nano_usd
             OR derived.n IS DISTINCT FROM stored.requests
         ORDER BY 1, 2 LIMIT {}",
        MAX_FINDINGS + 1
    );
    for row in tx.sql(text).fetch_all().await? {
        let (owner, starts_at): (Uuid, UnixMillis) = (row.get("owner_id")?, row.moment("starts_at")?);
        let id = format!("{owner} from {starts_at}");
        compare(&row, ("spend_quarters", &id), ["cost_nano_usd", "requests"], proof)?;
    }
    Ok(())
}

pub(super) async fn verify_end_user_quarters(
    tx: &mut Tx,
    proof: &mut JournalProof,
) -> Result<(), StoreError> {
    proof.end_user_quarters = count(tx, "SELECT COUNT(*) AS n FROM end_user_quarters").await?;
    // Where there are no columns, the event's JSON tells. A NUL in a name, at which SQLite would end it, counts as the
    // sums have it; a backslash that is itself escaped is out of the way meanwhile.
    let (project, key, user) = if tx.is_postgres() {
        ("project_id", "key_id", "end_user COLLATE \"C\"")
    } else {
        (
            "CASE WHEN json_valid(event) THEN unhex(event ->> '$.project', '-') END",
            "CASE WHEN json_valid(event) THEN unhex(event ->> '$.key', '-') END",
            r"CASE WHEN NOT json_valid(event) THEN NULL
                   WHEN instr(event, '\u0000') = 0 THEN event ->> '$.end_user'
                   ELSE replace(replace(replace(event, '\\', char(1)), '\u0000', '\ufffd'), char(1), '\\')
                       ->> '$.end_user' END",
        )
    };
    let text = format!(
        "SELECT COALESCE(derived.tenant_id, stored.tenant_id) AS tenant_id,
             COALESCE(derived.end_user, stored.end_user) AS end_user,
             COALESCE(derived.starts_at, stored.quarter_starts_at_ms) AS starts_at,
             COALESCE(derived.key_id, stored.key_id) AS key_id, derived.amount, derived.n,
             stored.cost_nano_usd AS stored_amount, stored.requests AS stored_n
         FROM (SELECT tenant_id, end_user, starts_at, key_id, project_id, CAST(SUM(cost) AS BIGINT) AS amount,
                   COUNT(*) AS n
               FROM (SELECT tenant_id, {user} AS end_user, admitted_at_ms - admitted_at_ms % {QUARTER_MS} AS starts_at,
                         {key} AS key_id, {project} AS project_id, cost_nano_usd AS cost FROM requests) AS parts
               WHERE end_user IS NOT NULL
               GROUP BY tenant_id, end_user, starts_at, key_id, project_id) AS derived
             FULL JOIN end_user_quarters AS stored
                 ON stored.tenant_id = derived.tenant_id AND stored.end_user = derived.end_user
                     AND stored.quarter_starts_at_ms = derived.starts_at AND stored.key_id = derived.key_id
                     AND stored.project_id = derived.project_id
         WHERE derived.amount IS DISTINCT FROM stored.cost_nano_usd
             OR derived.n IS DISTINCT FROM stored.requests
         ORDER BY 1, 2, 3, 4 LIMIT {}",
        MAX_FINDINGS + 1
    );
    for row in tx.sql(text).fetch_all().await? {
        let (tenant, key): (Uuid, Uuid) = (row.get("tenant_id")?, row.get("key_id")?);
        let (user, starts_at): (String, UnixMillis) = (row.get("end_user")?, row.moment("starts_at")?);
        let id = format!("{user} of {tenant} with {key} from {starts_at}");
        compare(&row, ("end_user_quarters", &id), ["cost_nano_usd", "requests"], proof)?;
    }
    Ok(())
}

fn compare(
    row: &Row,
    this: (&str, &str),
    columns: [&str; 2],
    proof: &mut JournalProof,
) -> Result<(), StoreError> {
    let number = |column| row.get::<Option<i64>>(column);
    let amount = |column| Ok::<_, StoreError>(shown(number(column)?.map(tollgate_domain::NanoUsd)));
    let n = |column| Ok::<_, StoreError>(shown(number(column)?));
    proof.compare(this, columns[0], &amount("amount")?, &amount("stored_amount")?);
    proof.compare(this, columns[1], &n("n")?, &n("stored_n")?);
    Ok(())
}

async fn count(tx: &mut Tx, text: &'static str) -> Result<u64, StoreError> {
    tx.sql(text).fetch_one().await?.count("n")
}
