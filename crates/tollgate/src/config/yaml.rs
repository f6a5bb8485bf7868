//! YAML to a tree whose every value knows its line. Aliases are followed; several documents, duplicate
//! keys, merge keys and tags are refused; depth and size are bounded.

use std::cell::Cell;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::problem::Found;

/// Deeper than any configuration, shallow enough for recursion.
const MAX_DEPTH: usize = 64;
/// Aliases can multiply a small file into a huge tree.
const MAX_NODES: usize = 1_000_000;

/// A value with its place. No `Debug`, here and below: references and secret files are resolved in it.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// Set once a problem with it is reported: from then on it counts as absent, so that the next problem
    /// can be found.
    pub(super) reported: Cell<bool>,
}

#[derive(Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it stood without quotes, so that its looks may make it a number, a boolean or nothing.
    pub(super) plain: bool,
    /// Whether environment or a file had a part in it; such text is never repeated in messages.
    pub(super) resolved: bool,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) line: usize,
}

/// What a plain scalar looks like (YAML 1.2's core schema).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Looks {
    Nothing,
    Boolean(bool),
    Unsigned(u64),
    Signed(i64),
    Decimal(f64),
    Text,
}

impl Scalar {
    pub(super) fn looks(&self) -> Looks {
        if !self.plain {
            return Looks::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => return Looks::Nothing,
            "true" | "True" | "TRUE" => return Looks::Boolean(true),
            "false" | "False" | "FALSE" => return Looks::Boolean(false),
            _ => {}
        }
        if !self.text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
            return Looks::Text;
        }
        if let Ok(number) = self.text.parse::<u64>() {
            return Looks::Unsigned(number);
        }
        if let Ok(number) = self.text.parse::<i64>() {
            return Looks::Signed(number);
        }
        match self.text.parse::<f64>() {
            Ok(number) if number.is_finite() => Looks::Decimal(number),
            _ => Looks::Text,
        }
    }
}

impl Node {
    pub(super) fn new(line: usize, kind: Kind) -> Self {
        Self { line, kind, reported: Cell::new(false) }
    }

    /// A quoted scalar that came from outside the file.
    pub(super) fn resolved(line: usize, text: String) -> Self {
        let scalar = Scalar { text, plain: false, resolved: true };
        Self::new(line, Kind::Scalar(scalar))
    }

    /// The line of the field at `path` (`tenants[0].keys[1]`), or of its nearest parent that exists.
    pub(super) fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        for segment in
            path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty())
        {
            let next = match &node.kind {
                Kind::Mapping(entries) => {
                    entries.iter().find(|(key, _)| key.text == segment).map(|(key, value)| (key.line, value))
                }
                Kind::List(items) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item.line, item)),
                Kind::Scalar(_) => None,
            };
            let Some((found_line, found)) = next else { break };
            (line, node) = (found_line, found);
        }
        line
    }
}

/// A list or mapping whose end has not come yet.
struct Open {
    anchor: usize,
    line: usize,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, pending: Option<Key> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    n_nodes: usize,
    documents: usize,
}

/// Parses one YAML document.
pub(super) fn parse(text: &str) -> Result<Node, Found> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| refused(error.marker().line(), format!("not valid YAML: {}", error.info())))?;
        builder.take(event, span.start.line())?;
    }
    builder.root.ok_or_else(|| refused(1, "the file is empty; start with `version: 1`"))
}

fn refused(line: usize, message: impl Into<String>) -> Found {
    Found { line, path: String::new(), message: message.into() }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Found> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(refused(line, "a second YAML document; put everything into one"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = refuse_tag(tag.as_deref(), line)?;
                let plain = style == ScalarStyle::Plain && !as_text;
                let scalar = Scalar { text: text.into_owned(), plain, resolved: false };
                self.finish(Node::new(line, Kind::Scalar(scalar)), anchor, 1)
            }
            Event::Alias(anchor) => {
                let Some((node, n_nodes)) = self.anchors.get(&anchor).cloned() else {
                    return Err(refused(line, "an alias inside the value it names; write the value out"));
                };
                self.finish(node, 0, n_nodes)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), line)?;
                self.open(anchor, line, OpenContent::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), line)?;
                self.open(anchor, line, OpenContent::Mapping { entries: Vec::new(), pending: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, anchor: usize, line: usize, content: OpenContent) -> Result<(), Found> {
        if self.open.len() >= MAX_DEPTH {
            return Err(refused(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { anchor, line, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Found> {
        let Some(Open { anchor, line, content }) = self.open.pop() else { return Ok(()) };
        let kind = match content {
            OpenContent::List(items) => Kind::List(items),
            OpenContent::Mapping { entries, .. } => Kind::Mapping(entries),
        };
        let node = Node::new(line, kind);
        let n_nodes = if anchor == 0 { 1 } else { count(&node) };
        self.keep_anchor(&node, anchor, n_nodes);
        self.put(node, 1)
    }

    fn finish(&mut self, node: Node, anchor: usize, n_nodes: usize) -> Result<(), Found> {
        self.keep_anchor(&node, anchor, n_nodes);
        self.put(node, n_nodes)
    }

    fn keep_anchor(&mut self, node: &Node, anchor: usize, n_nodes: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), n_nodes));
        }
    }

    /// Puts a finished value where it belongs: as the root, a list's item, a mapping's key or value.
    fn put(&mut self, node: Node, n_nodes: usize) -> Result<(), Found> {
        self.n_nodes += n_nodes;
        if self.n_nodes > MAX_NODES {
            return Err(refused(node.line, format!("more than {MAX_NODES} values, aliases counted out")));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(OpenContent::List(items)) => items.push(node),
            Some(OpenContent::Mapping { entries, pending }) => match pending.take() {
                None => *pending = Some(key_of(node, entries)?),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

fn key_of(node: Node, entries: &[(Key, Node)]) -> Result<Key, Found> {
    let Kind::Scalar(scalar) = node.kind else {
        return Err(refused(node.line, "a field's name must be plain text"));
    };
    if scalar.plain && scalar.text == "<<" {
        return Err(refused(node.line, "merge keys (`<<`) are not supported; write the fields out"));
    }
    if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == scalar.text) {
        let message = format!("the field `{}` stands here twice, first on line {}", scalar.text, first.line);
        return Err(refused(node.line, message));
    }
    Ok(Key { text: scalar.text, line: node.line })
}

/// `!!str` is honoured (answer: true); any other tag is refused.
fn refuse_tag(tag: Option<&saphyr_parser::Tag>, line: usize) -> Result<bool, Found> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) => Err(refused(line, format!("the tag `{tag}` is not supported; leave it out"))),
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar(_) => 0,
        Kind::List(items) => items.iter().map(count).sum(),
        Kind::Mapping(entries) => entries.iter().map(|(_, value)| count(value)).sum(),
    }
}
