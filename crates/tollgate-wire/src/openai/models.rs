//! `GET /v1/models`.

use bytes::Bytes;

use crate::json::write_string;

/// A model as the list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelEntry<'a> {
    /// Its name for requests.
    pub id: &'a str,
    /// Unix seconds.
    pub created: i64,
    /// Who provides it.
    pub owned_by: &'a str,
}

/// The list: `{"object":"list","data":[…]}`.
#[must_use]
pub fn encode_list<'a>(models: impl IntoIterator<Item = ModelEntry<'a>>) -> Bytes {
    let mut out = br#"{"object":"list","data":["#.to_vec();
    for (index, model) in models.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_model(&mut out, &model);
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

/// One of them.
#[must_use]
pub fn encode_model(model: &ModelEntry<'_>) -> Bytes {
    let mut out = Vec::with_capacity(model.id.len() + model.owned_by.len() + 64);
    write_model(&mut out, model);
    Bytes::from(out)
}

fn write_model(out: &mut Vec<u8>, model: &ModelEntry<'_>) {
    out.extend_from_slice(b"{\"id\":");
    write_string(out, model.id);
    out.extend_from_slice(
        format!(",\"object\":\"model\",\"created\":{},\"owned_by\":", model.created).as_bytes(),
    );
    write_string(out, model.owned_by);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_object() {
        let model = ModelEntry { id: "a/\"b", created: 5, owned_by: "x" };
        let object = r#"{"id":"a/\"b","object":"model","created":5,"owned_by":"x"}"#;
        assert_eq!(encode_model(&model), object);
        assert_eq!(encode_list([]), r#"{"object":"list","data":[]}"#);
        assert_eq!(encode_list([model, model]), format!(r#"{{"object":"list","data":[{object},{object}]}}"#));
    }
}
