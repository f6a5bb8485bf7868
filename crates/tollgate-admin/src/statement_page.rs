//! A statement for people: one page without anything from elsewhere that prints well, and a table.

use tollgate_control::{CreditReason, StatementSumView, StatementView};
use tollgate_domain::NanoUsd;

use crate::csv::push_row;

/// The table's columns. Charges are negative: the opening balance and all rows below it sum up to the closing one.
const COLUMNS: [&str; 9] =
    ["row", "day", "kind", "project", "provider", "model", "requests", "amount_usd", "reference"];

/// The statement as comma-separated values.
pub(crate) fn table(statement: &StatementView) -> String {
    let mut table = String::new();
    push_row(&mut table, COLUMNS);
    let opening = statement.opening_balance.0.to_string();
    push_row(&mut table, ["opening_balance", "", "", "", "", "", "", &opening, ""]);
    for credit in &statement.credits {
        let (at, amount) = (credit.at.0.to_string(), credit.amount.0.to_string());
        let reference = credit.reference.as_deref().unwrap_or_default();
        push_row(&mut table, ["credit", &at, credit.kind.name(), "", "", "", "", &amount, reference]);
    }
    for charge in &statement.charges {
        let (requests, cost) = (charge.requests.to_string(), negative(charge.cost.0).to_string());
        let project = charge.project.as_deref().unwrap_or(&charge.project_id);
        let place = [project, charge.provider.as_str(), charge.model.as_str()];
        let row = ["charge", &charge.day, "", place[0], place[1], place[2], &requests, &cost, ""];
        push_row(&mut table, row);
    }
    let closing = statement.closing_balance.0.to_string();
    push_row(&mut table, ["closing_balance", "", "", "", "", "", "", &closing, ""]);
    table
}

fn negative(amount: NanoUsd) -> NanoUsd {
    NanoUsd::ZERO.saturating_sub(amount)
}

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;color:#1a1a1a;max-width:56rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:2rem 0 .3rem}p{margin:.2rem 0;color:#555}\
table{border-collapse:collapse;width:100%}th,td{padding:.25rem .5rem;text-align:left;border-bottom:1px solid #ddd;\
overflow-wrap:anywhere}th{font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
.sum td{font-weight:600;border-top:2px solid #1a1a1a}thead{display:table-header-group}tr{break-inside:avoid}\
@media print{body{margin:0;max-width:none}}";

/// The statement as a page.
pub(crate) fn page(statement: &StatementView) -> String {
    let (tenant, month) = (escaped(&statement.tenant), escaped(&statement.month));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Statement {month} – {tenant}</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>Statement of {tenant}, {month}</h1>\n\
         <p>From {} until {} ({}). Made {}. Amounts in USD.</p>\n<p>Account {}</p>\n",
        statement.from.0,
        statement.to.0,
        escaped(&statement.time_zone),
        statement.made_at.0,
        escaped(&statement.tenant_id),
    );
    push_summary(&mut page, statement);
    push_credits(&mut page, statement);
    for (title, what, sums) in [
        ("Charges by project", "Project", &statement.charges_by_project),
        ("Charges by model", "Model", &statement.charges_by_model),
        ("Charges by day", "Day", &statement.charges_by_day),
    ] {
        push_sums(&mut page, title, what, sums, statement.charged.0);
    }
    page.push_str("</body></html>\n");
    page
}

fn push_summary(page: &mut String, statement: &StatementView) {
    page.push_str("<h2>Summary</h2>\n<table><tbody>\n");
    let mut line = |name: &str, amount: NanoUsd| {
        page.push_str(&format!("<tr><td>{name}</td><td class=\"n\">{amount}</td></tr>\n"));
    };
    line("Opening balance", statement.opening_balance.0);
    for kind in &statement.credits_by_kind {
        line(title_of(kind.kind), kind.amount.0);
    }
    line("Charges", negative(statement.charged.0));
    let closing = statement.closing_balance.0;
    page.push_str(&format!(
        "<tr class=\"sum\"><td>Closing balance</td><td class=\"n\">{closing}</td></tr>\n</tbody></table>\n"
    ));
}

const fn title_of(kind: CreditReason) -> &'static str {
    match kind {
        CreditReason::Grant => "Credit granted",
        CreditReason::Topup => "Paid in",
        CreditReason::Refund => "Refunds",
        CreditReason::Adjustment => "Corrections",
        CreditReason::Expire => "Credit expired",
    }
}

fn push_credits(page: &mut String, statement: &StatementView) {
    if statement.credits.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Credits</h2>\n<table><thead><tr><th>When</th><th>What</th><th>Reference</th>\
         <th class=\"n\">USD</th></tr></thead><tbody>\n",
    );
    for credit in &statement.credits {
        page.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>\n",
            credit.at.0,
            title_of(credit.kind),
            escaped(credit.reference.as_deref().unwrap_or_default()),
            credit.amount.0
        ));
    }
    page.push_str("</tbody></table>\n");
}

fn push_sums(page: &mut String, title: &str, what: &str, sums: &[StatementSumView], total: NanoUsd) {
    if sums.is_empty() {
        return;
    }
    page.push_str(&format!(
        "<h2>{title}</h2>\n<table><thead><tr><th>{what}</th><th class=\"n\">Requests</th>\
         <th class=\"n\">USD</th></tr></thead><tbody>\n"
    ));
    for sum in sums {
        page.push_str(&format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escaped(&sum.name),
            sum.requests,
            sum.cost.0
        ));
    }
    let n_requests: u64 = sums.iter().map(|sum| sum.requests).sum();
    page.push_str(&format!(
        "<tr class=\"sum\"><td>Total</td><td class=\"n\">{n_requests}</td><td class=\"n\">{total}</td></tr>\n\
         </tbody></table>\n"
    ));
}

/// Text that a stranger wrote, as text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(escaped("<b a='1' c=\"2\">&amp;"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
        assert_eq!(escaped("плата – 5 €"), "плата – 5 €");
    }
}
