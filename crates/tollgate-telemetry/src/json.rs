//! JSON log lines: one flat object per event, the fields of the surrounding spans included.

use std::fmt;
use std::io::Write as _;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Names that every line has; a field of the same name gets an underscore appended.
const RESERVED: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Writes each event as one line: `timestamp`, `level`, `target`, `message`, then the spans' fields from the
/// outermost inwards, then the event's own. An inner field replaces an outer one of the same name.
pub(crate) struct JsonLayer<W> {
    make_writer: W,
}

impl<W> JsonLayer<W> {
    pub(crate) fn new(make_writer: W) -> Self {
        Self { make_writer }
    }
}

/// Fields in the order they were first recorded.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field.name(), Value::String(value.to_string()));
    }
}

impl<S, W> Layer<S> for JsonLayer<W>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in
            context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(outer) = span.extensions().get::<Fields>() {
                outer.0.iter().for_each(|(name, value)| fields.set(name, value.clone()));
            }
        }
        event.record(&mut fields);
        let line = json_line(event, fields);
        // a log that cannot be written has nowhere to be reported
        let _ = self.make_writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

fn json_line(event: &Event<'_>, fields: Fields) -> String {
    let metadata = event.metadata();
    let mut timestamp = String::new();
    if SystemTime.format_time(&mut Writer::new(&mut timestamp)).is_err() {
        timestamp.clear();
    }
    let mut others = fields.0;
    let message = others.iter().position(|(name, _)| *name == "message").map(|index| others.remove(index).1);
    let mut line = String::with_capacity(LINE_CAPACITY_BYTES);
    line.push('{');
    push_member(&mut line, "timestamp", &Value::String(timestamp));
    push_member(&mut line, "level", &Value::String(metadata.level().as_str().to_owned()));
    push_member(&mut line, "target", &Value::String(metadata.target().to_owned()));
    push_member(&mut line, "message", &message.unwrap_or_else(|| Value::String(String::new())));
    for (name, value) in others {
        let name = name.trim_start_matches("r#");
        if RESERVED.contains(&name) {
            push_member(&mut line, &format!("{name}_"), &value);
        } else {
            push_member(&mut line, name, &value);
        }
    }
    line.push_str("}\n");
    line
}

/// What a line usually needs.
const LINE_CAPACITY_BYTES: usize = 512;

fn push_member(line: &mut String, name: &str, value: &Value) {
    use std::fmt::Write as _;
    if !line.ends_with('{') {
        line.push(',');
    }
    // writing to a String cannot fail
    let _ = write!(line, "{}:{value}", Value::String(name.to_owned()));
}
