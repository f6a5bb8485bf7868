//! Setting a few members of a text that stays as it is otherwise.

use super::{FieldError, Node};

/// A member to set, by its path from the top (`["generationConfig", "maxOutputTokens"]`), and its value's
/// JSON text. Objects on the way are made where they are missing.
pub type Edit<'a> = (&'a [&'a str], &'a str);

/// The text of `root`'s object with `edits` made: values that are there are replaced, others added at the
/// end of their object.
///
/// # Errors
/// Something on a path is no object, or has a member twice.
pub fn set_members(text: &[u8], root: &Node<'_>, edits: &[Edit<'_>]) -> Result<Vec<u8>, FieldError> {
    let mut changes: Vec<(std::ops::Range<usize>, String)> = Vec::with_capacity(edits.len());
    for (path, value) in edits {
        changes.push(change(root, path, value)?);
    }
    if let [_, .., _] = edits
        && meet(edits, &changes)
    {
        return one_by_one(text, edits);
    }
    changes.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut at = 0;
    for (range, replacement) in changes {
        out.extend_from_slice(&text[at..range.start]);
        out.extend_from_slice(replacement.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(&text[at..]);
    Ok(out)
}

/// Whether two changes are made at one place and one of them must know of the other: both make the same object, or both
/// begin an empty one.
fn meet(edits: &[Edit<'_>], changes: &[(std::ops::Range<usize>, String)]) -> bool {
    let all = || edits.iter().zip(changes).enumerate();
    all().any(|(at, ((path, _), (range, text)))| {
        let others = all().skip(at + 1);
        others.into_iter().any(|(_, ((other_path, _), (other, _)))| {
            other.start == range.start && (path.first() == other_path.first() || !text.starts_with(','))
        })
    })
}

/// Each edit in the text that the one before it left.
fn one_by_one(text: &[u8], edits: &[Edit<'_>]) -> Result<Vec<u8>, FieldError> {
    let mut out = text.to_vec();
    for edit in edits {
        let root = Node::parse(&out)
            .map_err(|error| FieldError { path: String::new(), message: error.to_string() })?;
        out = set_members(&out, &root, std::slice::from_ref(edit))?;
    }
    Ok(out)
}

fn change(
    node: &Node<'_>,
    path: &[&str],
    value: &str,
) -> Result<(std::ops::Range<usize>, String), FieldError> {
    let [name, rest @ ..] = path else { return Ok((node.span(), value.to_owned())) };
    let mut members = node.object()?;
    if let Some(member) = members.take(name) {
        return change(&member, rest, value);
    }
    // a member that is `null` is replaced, too: a second of its name would be refused
    let made =
        rest.iter().rev().fold(value.to_owned(), |inner, name| format!("{{{}:{inner}}}", quoted(name)));
    let mut again = node.object()?;
    if let Some(null) = again.take_any(name) {
        return Ok((null.span(), made));
    }
    let close = node.span().end - 1;
    let comma = if members.is_empty() { "" } else { "," };
    Ok((close..close, format!("{comma}{}:{made}", quoted(name))))
}

/// A name as JSON has it: it may be the client's own.
fn quoted(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len() + 2);
    super::write_string(&mut out, name);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_replaced_added_and_made() {
        let cases: &[(&str, &[Edit<'_>], &str)] = &[
            (r#"{"a": 1, "b" : [2]}"#, &[(&["a"], "9")], r#"{"a": 9, "b" : [2]}"#),
            (r#"{"a":1}"#, &[(&["b"], "2"), (&["a"], "3")], r#"{"a":3,"b":2}"#),
            ("{}", &[(&["a"], "1")], r#"{"a":1}"#),
            (r#"{"a":null}"#, &[(&["a"], "1")], r#"{"a":1}"#),
            (r#"{"x":{"y":1,"z":2}}"#, &[(&["x", "y"], "5")], r#"{"x":{"y":5,"z":2}}"#),
            (r#"{"x":{}}"#, &[(&["x", "y"], "5")], r#"{"x":{"y":5}}"#),
            (r#"{"b":0}"#, &[(&["x", "y"], "5")], r#"{"b":0,"x":{"y":5}}"#),
            (r#"{"x":null}"#, &[(&["x", "y"], "5")], r#"{"x":{"y":5}}"#),
            ("{}", &[(&["a"], "1"), (&["b"], "2")], r#"{"a":1,"b":2}"#),
            ("{}", &[(&["x", "y"], "1"), (&["x", "z"], "2")], r#"{"x":{"y":1,"z":2}}"#),
            (r#"{"x":null}"#, &[(&["x", "y"], "1"), (&["x", "z"], "2")], r#"{"x":{"y":1,"z":2}}"#),
            (
                r#"{"b":0}"#,
                &[(&["x", "y"], "1"), (&["a"], "3"), (&["x", "z"], "2")],
                r#"{"b":0,"x":{"y":1,"z":2},"a":3}"#,
            ),
            (r#"{"x":{}}"#, &[(&["x", "y"], "1"), (&["x", "z"], "2")], r#"{"x":{"y":1,"z":2}}"#),
            ("{}", &[(&["a\":1,\"b\0", "c\\"], "1")], r#"{"a\":1,\"b\u0000":{"c\\":1}}"#),
        ];
        for (text, edits, expected) in cases {
            let root = Node::parse(text.as_bytes()).unwrap();
            let out = set_members(text.as_bytes(), &root, edits).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), *expected, "{text}");
        }
        let root = Node::parse(br#"{"x":5}"#).unwrap();
        assert!(set_members(br#"{"x":5}"#, &root, &[(&["x", "y"], "1")]).is_err());
    }
}
