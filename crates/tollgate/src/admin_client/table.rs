//! JSON rows as aligned text: numbers and money to the right, everything else to the left.

use serde_json::Value;

/// Between two columns.
const GAP: &str = "  ";
const NOTHING: &str = "-";

/// A table with a heading. `columns` are dotted field names, of which those that occur are shown; every
/// scalar field of the first row where none is named or none occurs.
pub(crate) fn of_rows(rows: &[Value], columns: &[&str]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let occurs =
        |column: &str| rows.iter().any(|row| field(row, column).is_some_and(|value| !value.is_null()));
    let mut shown: Vec<String> =
        columns.iter().filter(|column| occurs(column)).map(|column| (*column).to_owned()).collect();
    if shown.is_empty() {
        let fields = rows.first().and_then(Value::as_object);
        let scalar = |value: &Value| !value.is_object() && !value.is_array();
        shown = fields
            .into_iter()
            .flatten()
            .filter(|(_, value)| scalar(value))
            .map(|(name, _)| name.clone())
            .collect();
    }
    let mut lines: Vec<Vec<String>> = vec![shown.iter().map(|column| heading(column)).collect()];
    for row in rows {
        lines.push(shown.iter().map(|column| cell(field(row, column))).collect());
    }
    align(&lines)
}

/// An object as `field  value` lines; inner objects by dotted names.
pub(crate) fn of_object(value: &Value) -> String {
    let mut lines = Vec::new();
    flatten(&mut lines, String::new(), value);
    let width = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let line = |(name, value): &(String, String)| format!("{name:<width$}{GAP}{value}\n");
    lines.iter().map(line).collect()
}

fn flatten(lines: &mut Vec<(String, String)>, name: String, value: &Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (inner, value) in fields {
                let name = if name.is_empty() { inner.clone() } else { format!("{name}.{inner}") };
                flatten(lines, name, value);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(lines, format!("{name}[{index}]"), item);
            }
        }
        Value::Object(_) | Value::Null => {}
        other => lines.push((name, cell(Some(other)))),
    }
}

fn field<'a>(row: &'a Value, dotted: &str) -> Option<&'a Value> {
    dotted.split('.').try_fold(row, |value, segment| value.get(segment))
}

fn heading(column: &str) -> String {
    column.rsplit('.').next().unwrap_or(column).to_uppercase()
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) => {
            let texts: Vec<String> = items.iter().map(|item| cell(Some(item))).collect();
            if texts.is_empty() { NOTHING.to_owned() } else { texts.join(",") }
        }
        Some(Value::Object(fields)) => {
            if let (Some(Value::String(provider)), Some(Value::String(model))) =
                (fields.get("provider"), fields.get("model"))
            {
                return printable(&format!("{provider}/{model}"));
            }
            let pairs: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}={}", cell(Some(value)))).collect();
            if pairs.is_empty() { NOTHING.to_owned() } else { pairs.join(",") }
        }
        Some(other) => other.to_string(),
    }
}

/// Names come from clients of the API: none may move the cursor of whoever reads them.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches('-');
    text == NOTHING
        || digits.starts_with(|first: char| first.is_ascii_digit())
            && digits.chars().all(|character| character.is_ascii_digit() || character == '.')
}

fn align(lines: &[Vec<String>]) -> String {
    let n_columns = lines.first().map_or(0, Vec::len);
    let column = |index: usize| lines.iter().map(move |line| line[index].as_str());
    let widths: Vec<usize> =
        (0..n_columns).map(|index| column(index).map(width).max().unwrap_or(0)).collect();
    let to_the_right: Vec<bool> = (0..n_columns)
        .map(|index| {
            let mut cells = column(index).skip(1);
            cells.clone().any(|cell| cell != NOTHING) && cells.all(is_number)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (index, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[index] - width(cell));
            let gap = if index == 0 { "" } else { GAP };
            row.push_str(gap);
            row.push_str(&if to_the_right[index] {
                format!("{padding}{cell}")
            } else {
                format!("{cell}{padding}")
            });
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}
