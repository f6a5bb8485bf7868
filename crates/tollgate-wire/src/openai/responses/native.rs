//! Requests and answers that pass to and from a provider that speaks Responses itself: what must be known of them, and
//! the few members that change.

use bytes::Bytes;
use tollgate_domain::NanoUsd;

use crate::json::{Edit, FieldError, Kind, Node, ReadError, set_members, write_string};

/// Members that decide what a request costs or whose it is: in another spelling they might overrule what was read.
const READ_MEMBERS: [&str; 14] = [
    "background",
    "context_management",
    "conversation",
    "input",
    "instructions",
    "max_output_tokens",
    "model",
    "previous_response_id",
    "prompt",
    "service_tier",
    "store",
    "stream",
    "tools",
    "truncation",
];

/// What a request says that the neutral types have no place for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NativeFacts {
    /// The response that it continues.
    pub previous_response_id: Option<String>,
    /// Whether it names a conversation that the vendor keeps.
    pub has_conversation: bool,
    /// Whether it names a template that the vendor keeps.
    pub has_prompt_template: bool,
    /// Whether the vendor is to shorten its own context, by a model that is billed.
    pub has_compaction: bool,
    /// Whether it is answered before it is done.
    pub background: bool,
    /// Whether the response is to be kept, where the request says so.
    pub store: Option<bool>,
    /// Tools that the vendor runs and bills.
    pub has_billed_tools: bool,
    /// Tools of a grammar instead of a schema, which the client runs.
    pub n_custom_tools: u64,
    /// Something in it has a length that it does not show: items that the vendor keeps, the words by which a model is told
    /// how to use the vendor's tools.
    pub has_unseen_parts: bool,
}

impl NativeFacts {
    /// Reads them from a request's body.
    ///
    /// # Errors
    /// Invalid JSON, a member of the wrong type, or a known one in capitals.
    pub fn read(body: &[u8]) -> Result<Self, ReadError> {
        let document = Node::parse(body)?;
        let mut members = document.object()?;
        let mut facts = Self {
            previous_response_id: members.string("previous_response_id")?,
            has_conversation: members.take("conversation").is_some(),
            has_prompt_template: members.take("prompt").is_some(),
            has_compaction: members.take("context_management").is_some_and(|node| !is_empty(&node)),
            background: members.flag("background")?.unwrap_or(false),
            store: members.flag("store")?,
            ..Self::default()
        };
        if let Some(tools) = members.take("tools") {
            for tool in tools.array()? {
                facts.note_tool(&tool)?;
            }
        }
        if let Some(items) = members.take("input").filter(|node| node.kind() == Kind::Array) {
            for item in items.array()? {
                facts.has_unseen_parts |= is_kept(&item)?;
            }
        }
        refuse_other_case(&members.rest().iter().map(|(name, _)| name).collect::<Vec<_>>())?;
        Ok(facts)
    }

    fn note_tool(&mut self, tool: &Node<'_>) -> Result<(), FieldError> {
        let mut members = tool.object()?;
        match members.string("type")?.as_deref() {
            Some("function") => {}
            Some("custom") => self.n_custom_tools += 1,
            Some("local_shell" | "apply_patch" | "computer" | "computer_use_preview") => {
                self.has_unseen_parts = true;
            }
            Some("shell") if is_local(members.take("environment"))? => self.has_unseen_parts = true,
            _ => self.has_billed_tools = true,
        }
        Ok(())
    }
}

fn is_local(environment: Option<Node<'_>>) -> Result<bool, FieldError> {
    let kind = environment.map(|node| node.object()?.string("type")).transpose()?.flatten();
    Ok(kind.as_deref() == Some("local"))
}

fn is_empty(node: &Node<'_>) -> bool {
    matches!(node.text().trim(), "[]" | "{}")
}

/// Whether an item names what the vendor keeps instead of saying it.
fn is_kept(item: &Node<'_>) -> Result<bool, FieldError> {
    let mut members = item.object()?;
    let is_kept = match members.string("type")?.as_deref() {
        Some("item_reference") => true,
        Some("reasoning") => members.take("encrypted_content").is_none() && members.take("id").is_some(),
        _ => false,
    };
    Ok(is_kept)
}

fn refuse_other_case(names: &[&str]) -> Result<(), FieldError> {
    let known = |name: &&str| READ_MEMBERS.iter().find(|known| known.eq_ignore_ascii_case(name));
    match names.iter().find_map(|name| known(name).filter(|known| *known != name)) {
        Some(known) => {
            Err(FieldError { path: (*known).to_owned(), message: "is written in lower case".to_owned() })
        }
        None => Ok(()),
    }
}

/// What changes in a request that passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NativeEdits<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The cap on the answer's tokens that was paid for.
    pub output_cap: Option<u64>,
    /// The response that it continues, as the provider names it.
    pub previous_response_id: Option<&'a str>,
    /// The provider keeps nothing, and refuses to be asked for it.
    pub forbid_store: bool,
}

/// The request with `edits` made, every other byte as it was.
///
/// # Errors
/// Invalid JSON.
pub fn pass_request(body: &[u8], edits: &NativeEdits<'_>) -> Result<Bytes, ReadError> {
    let root = Node::parse(body)?;
    let (model, previous) = (quoted(edits.model), edits.previous_response_id.map(quoted));
    let cap = edits.output_cap.map(|cap| cap.to_string());
    let mut changes: Vec<Edit<'_>> = vec![(&["model"], &model)];
    changes.extend(cap.as_deref().map(|cap| -> Edit<'_> { (&["max_output_tokens"], cap) }));
    changes.extend(previous.as_deref().map(|name| -> Edit<'_> { (&["previous_response_id"], name) }));
    if edits.forbid_store {
        changes.push((&["store"], "false"));
    }
    Ok(Bytes::from(set_members(body, &root, &changes)?))
}

/// The client's name for one of the provider's ids; `None` leaves it.
pub type NameOf = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How the ids of responses are named for the client.
pub struct ResponseNames {
    /// The client's name for one of the provider's; `None` leaves it.
    pub name_of: NameOf,
    /// The response that the request continues, in the client's own words.
    pub previous: Option<String>,
}

impl std::fmt::Debug for ResponseNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResponseNames(continues: {})", self.previous.is_some())
    }
}

impl ResponseNames {
    /// An answer of the provider's with the client's names in it, and its cost in `usage`, where it has one.
    ///
    /// # Errors
    /// Invalid JSON.
    pub fn rename(&self, answer: &[u8], cost: Option<NanoUsd>) -> Result<Vec<u8>, ReadError> {
        self.rename_at(answer, &[], cost)
    }

    /// The same for an event that carries a response; `None` where it does not.
    ///
    /// # Errors
    /// Invalid JSON.
    pub fn rename_event(&self, data: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        // most events are pieces of text, in which the quotes of a name would be escaped
        let is_named = |name: &[u8]| memchr::memmem::find(data, name).is_some();
        if !is_named(b"\"response\"") && !is_named(b"\"response_id\"") {
            return Ok(None);
        }
        let root = Node::parse(data)?;
        let mut members = root.object()?;
        let has_response = members.take("response").is_some_and(|node| node.kind() == Kind::Object);
        let named = members.take("response_id").and_then(|node| self.of(&node));
        let renamed = if has_response { Some(self.rename_at(data, &["response"], None)?) } else { None };
        let Some(id) = named else { return Ok(renamed) };
        let text = renamed.as_deref().unwrap_or(data);
        Ok(Some(set_members(text, &Node::parse(text)?, &[(&["response_id"], &quoted(&id))])?))
    }

    fn of(&self, node: &Node<'_>) -> Option<String> {
        (self.name_of)(&node.string().ok()?)
    }

    fn rename_at(&self, text: &[u8], at: &[&str], cost: Option<NanoUsd>) -> Result<Vec<u8>, ReadError> {
        let root = Node::parse(text)?;
        let mut members = root.object()?;
        if let [name] = at {
            members = members.required(name)?.object()?;
        }
        let mut changes: Vec<(Vec<&str>, String)> = Vec::with_capacity(3);
        let path = |name: &'static str| at.iter().copied().chain([name]).collect::<Vec<&str>>();
        if let Some(id) = members.take("id").and_then(|node| self.of(&node)) {
            changes.push((path("id"), quoted(&id)));
        }
        if let Some(node) = members.take("previous_response_id")
            && let Some(id) = self.previous.clone().or_else(|| self.of(&node))
        {
            changes.push((path("previous_response_id"), quoted(&id)));
        }
        if let Some(cost) = cost
            && members.take("usage").is_some_and(|node| node.kind() == Kind::Object)
        {
            let mut path = path("usage");
            path.push("cost");
            changes.push((path, cost.text().as_str().to_owned()));
        }
        let changes: Vec<Edit<'_>> =
            changes.iter().map(|(path, value)| (path.as_slice(), value.as_str())).collect();
        Ok(set_members(text, &root, &changes)?)
    }
}

/// An event's data with the cost in the usage of its response.
///
/// # Errors
/// Invalid JSON, or no usage.
pub(super) fn with_cost(data: &[u8], cost: NanoUsd) -> Result<Vec<u8>, ReadError> {
    let cost = cost.text();
    let edit: Edit<'_> = (&["response", "usage", "cost"], cost.as_str());
    Ok(set_members(data, &Node::parse(data)?, &[edit])?)
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> ResponseNames {
        ResponseNames { name_of: Box::new(|id| Some(format!("ours-{id}"))), previous: None }
    }

    #[test]
    fn facts_are_read() {
        let read = |text: &str| NativeFacts::read(text.as_bytes()).unwrap();
        assert_eq!(
            read(r#"{"input":"x","previous_response_id":null,"conversation":null}"#),
            NativeFacts::default()
        );
        let facts = read(
            r#"{"previous_response_id":"resp_1","conversation":"conv_1","prompt":{"id":"p"},"background":true,"store":false,
                "context_management":[{"type":"compaction"}]}"#,
        );
        assert_eq!(facts.previous_response_id.as_deref(), Some("resp_1"));
        assert!(
            facts.has_conversation && facts.has_prompt_template && facts.has_compaction && facts.background
        );
        assert_eq!(facts.store, Some(false));
        let tools = [
            (r#"{"type":"function","name":"f"}"#, (false, 0, false)),
            (r#"{"type":"custom","name":"f"}"#, (false, 1, false)),
            (r#"{"type":"local_shell"}"#, (false, 0, true)),
            (r#"{"type":"shell","environment":{"type":"local"}}"#, (false, 0, true)),
            (r#"{"type":"shell","environment":{"type":"container_auto"}}"#, (true, 0, false)),
            (r#"{"type":"shell"}"#, (true, 0, false)),
            (r#"{"type":"web_search"}"#, (true, 0, false)),
            (r#"{"type":"mcp","server_url":"https://example.com"}"#, (true, 0, false)),
            (r#"{"type":"something_new"}"#, (true, 0, false)),
            (r#"{}"#, (true, 0, false)),
        ];
        for (tool, expected) in tools {
            let facts = read(&format!(r#"{{"tools":[{tool}]}}"#));
            assert_eq!(
                (facts.has_billed_tools, facts.n_custom_tools, facts.has_unseen_parts),
                expected,
                "{tool}"
            );
        }
        let items = [
            (r#"{"role":"user","content":"x"}"#, false),
            (r#"{"type":"item_reference","id":"msg_1"}"#, true),
            (r#"{"type":"reasoning","id":"rs_1","summary":[]}"#, true),
            (r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}"#, false),
        ];
        for (item, expected) in items {
            assert_eq!(read(&format!(r#"{{"input":[{item}]}}"#)).has_unseen_parts, expected, "{item}");
        }
        for (text, path) in [
            (r#"{"Max_Output_Tokens":5}"#, "max_output_tokens"),
            (r#"{"STORE":true,"store":true}"#, "store"),
            (r#"{"tools":{}}"#, "tools"),
            (r#"{"input":["x"]}"#, "input[0]"),
        ] {
            let Err(ReadError::Field(error)) = NativeFacts::read(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(error.path, path, "{text}");
        }
    }

    #[test]
    fn a_request_passes_but_for_a_few_members() {
        let edits = NativeEdits { model: "p", ..NativeEdits::default() };
        let cases = [
            (edits, r#"{"model": "x", "new":[1.50]}"#, r#"{"model": "p", "new":[1.50]}"#),
            (
                NativeEdits { output_cap: Some(5), ..edits },
                r#"{"max_output_tokens":9}"#,
                r#"{"max_output_tokens":5,"model":"p"}"#,
            ),
            (
                NativeEdits { previous_response_id: Some("resp_1"), forbid_store: true, ..edits },
                r#"{"model":"x","previous_response_id":"resp_tg","store":true}"#,
                r#"{"model":"p","previous_response_id":"resp_1","store":false}"#,
            ),
        ];
        for (edits, body, expected) in cases {
            let out = pass_request(body.as_bytes(), &edits).unwrap();
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn answers_and_events_have_the_clients_names() {
        let cost = Some(NanoUsd(1_500));
        let text = r#"{"id": "resp_1","previous_response_id":"resp_0","usage":{"input_tokens":1},"x":1.50}"#;
        let out = names().rename(text.as_bytes(), cost).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"id": "ours-resp_1","previous_response_id":"ours-resp_0","usage":{"input_tokens":1,"cost":0.0000015},"x":1.50}"#
        );
        let told = ResponseNames { previous: Some("mine".to_owned()), ..names() };
        let out = told.rename(br#"{"id":"a","previous_response_id":"b","usage":null}"#, cost).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"id":"ours-a","previous_response_id":"mine","usage":null}"#
        );
        let cases = [
            (r#"{"type":"response.output_text.delta","delta":"\"response\":{}"}"#, None),
            (r#"{"type":"response.created","response":null}"#, None),
            (
                r#"{"type":"response.created","response":{"id":"a","previous_response_id":null}}"#,
                Some(r#"{"type":"response.created","response":{"id":"ours-a","previous_response_id":null}}"#),
            ),
            (r#"{"type":"x","response_id":"a"}"#, Some(r#"{"type":"x","response_id":"ours-a"}"#)),
        ];
        for (event, expected) in cases {
            let out = names().rename_event(event.as_bytes()).unwrap();
            assert_eq!(out.map(|out| String::from_utf8(out).unwrap()).as_deref(), expected, "{event}");
        }
    }
}
