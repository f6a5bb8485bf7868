//! What the document means, checked beside its shape: where parts of a file cannot be read, the rest is
//! checked without them, and only what does not follow from their absence is told.

use tollgate_control::{ConfigDocument, ConfigProblem, KnownNames, validate_against};

use super::ReadTree;
use super::deserialize::{self, join};
use super::problem::{Found, MAX_PROBLEMS};
use super::yaml::{Key, Kind, Node, Scalar};

/// Where objects stand that others refer to by name.
const REFERRED: [&str; 2] = ["providers", "models"];

/// The document, and every problem of its shape and its meaning.
pub(super) fn check(read: ReadTree<ConfigDocument>) -> (Option<ConfigDocument>, Vec<Found>) {
    let ReadTree { document, mut tree, mut problems } = read;
    let removed = Removed::of(&tree);
    let is_whole = problems.is_empty();
    let document = document.or_else(|| {
        // Beyond the limit nobody knows what else is wrong.
        if problems.len() < MAX_PROBLEMS { without_its_version(&mut tree) } else { None }
    });
    let Some(document) = document else { return (None, problems) };
    for problem in validate_against(&document, &removed.known) {
        let path = as_written(&tree, &problem.path);
        if is_whole || !removed.may_cause(&path) {
            let message = rewrite_paths(&tree, &problem);
            problems.push(Found { line: tree.line_of(&path), path, message });
        }
    }
    (Some(document), problems)
}

/// The document of a tree that lacks nothing but a usable `version`.
fn without_its_version(tree: &mut Node) -> Option<ConfigDocument> {
    let line = tree.line;
    let Kind::Mapping(entries) = &mut tree.kind else { return None };
    entries.retain(|(key, _)| key.text != "version");
    let scalar = Scalar { text: "1".to_owned(), plain: true, resolved: false };
    let key = Key { text: "version".to_owned(), line };
    entries.push((key, Node::new(line, Kind::Scalar(scalar))));
    let mut more = Vec::new();
    deserialize::document(tree, &mut more).filter(|_| more.is_empty())
}

/// What the document lacks of the file.
#[derive(Default)]
struct Removed {
    /// As written in the file; of nested ones the outer.
    paths: Vec<String>,
    /// Providers and models that stand in the file, whether they can be read or not.
    known: KnownNames,
    /// Whether there may be providers and models of other names.
    has_unknown_names: bool,
}

impl Removed {
    fn of(tree: &Node) -> Self {
        let mut removed = Self::default();
        removed.collect(tree, "");
        // Another stands in for it; nothing follows from its absence.
        removed.paths.retain(|path| path != "version");
        if removed.paths.is_empty() {
            return removed;
        }
        // A misspelt `providers` holds names as well.
        removed.has_unknown_names = removed.paths.iter().any(|path| !path.contains(['.', '[']));
        let Kind::Mapping(entries) = &tree.kind else { return removed };
        for (key, list) in entries {
            let Kind::List(items) = &list.kind else { continue };
            for item in items.iter().filter(|_| REFERRED.contains(&key.text.as_str())) {
                match (name_of(item), key.text.as_str()) {
                    (None, _) => removed.has_unknown_names = true,
                    (Some(name), "providers") => {
                        removed.known.providers.insert(name.to_owned());
                    }
                    (Some(name), _) => {
                        removed.known.models.insert(name.to_owned(), Vec::new());
                    }
                }
            }
        }
        removed
    }

    fn collect(&mut self, node: &Node, path: &str) {
        if node.reported.get() {
            self.paths.push(path.to_owned());
            return;
        }
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect(item, &format!("{path}[{index}]"));
                }
            }
            Kind::Mapping(entries) => {
                for (key, value) in entries {
                    self.collect(value, &join(path, &key.text));
                }
            }
        }
    }

    /// Whether a problem at `path` may be there only because something is missing.
    fn may_cause(&self, path: &str) -> bool {
        let is_reference = path.starts_with("defaults.")
            || path.contains("].targets[")
            || path.contains("].fallbacks[")
            || (path.starts_with("prices[") && path.ends_with("].provider"));
        (self.has_unknown_names && is_reference)
            || self.paths.iter().any(|removed| {
                let list_of_removed = removed.strip_suffix(']').and_then(|path| path.rsplit_once('['));
                entry_of(removed) == entry_of(path) || list_of_removed.is_some_and(|(list, _)| list == path)
            })
    }
}

fn name_of(item: &Node) -> Option<&str> {
    let Kind::Mapping(entries) = &item.kind else { return None };
    entries.iter().find(|(key, _)| key.text == "name").and_then(|(_, value)| match &value.kind {
        Kind::Scalar(scalar) if !value.reported.get() => Some(scalar.text.as_str()),
        _ => None,
    })
}

/// The part of the file whose fields are checked together: below `tenants` the innermost object of a list,
/// elsewhere the outermost; empty for the document's own fields.
fn entry_of(path: &str) -> &str {
    let end = if path.starts_with("tenants[") { path.rfind(']') } else { path.find(']') };
    end.map_or("", |end| &path[..=end])
}

/// The path in the file of a path in the document: lists of the document lack what could not be read.
fn as_written(tree: &Node, path: &str) -> String {
    let mut written = String::with_capacity(path.len());
    let mut node = Some(tree);
    for segment in path.split_inclusive(['.', '[', ']']) {
        let name = segment.trim_end_matches(['.', '[', ']']);
        let mut shown = name.to_owned();
        match node.map(|node| &node.kind) {
            _ if name.is_empty() => {}
            Some(Kind::Mapping(entries)) => {
                node = entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value);
            }
            Some(Kind::List(items)) => {
                let kept = || items.iter().enumerate().filter(|(_, item)| !item.reported.get());
                let found = name.parse().ok().and_then(|index: usize| kept().nth(index));
                node = found.map(|(_, item)| item);
                shown = found.map_or(shown, |(index, _)| index.to_string());
            }
            _ => node = None,
        }
        written.push_str(&shown);
        written.push_str(&segment[name.len()..]);
    }
    written
}

/// The message, with the paths that it names as they stand in the file.
fn rewrite_paths(tree: &Node, problem: &ConfigProblem) -> String {
    let rewritten = |word: &str| {
        let is_path = word.starts_with("prices[") || word.starts_with("tenants[");
        if is_path { as_written(tree, word) } else { word.to_owned() }
    };
    problem.message.split(' ').map(rewritten).collect::<Vec<_>>().join(" ")
}
