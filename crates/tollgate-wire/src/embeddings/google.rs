//! Google's `embedContent` and `batchEmbedContents`, as its clients send them.

use super::EmbeddingDialect;
use crate::json::{FieldError, JsonWriter, Node, RawJson, ReadError, Rest};

/// A request of Google's, with what stands for it as OpenAI's: that is what is priced.
#[derive(Clone, Debug)]
pub struct GoogleEmbedding {
    /// The same as OpenAI's.
    pub as_openai: Vec<u8>,
    /// The first member that only Google has: who does not speak its dialect does not get the request.
    pub only_google: Option<String>,
    /// Whether several texts were asked for, in a list.
    pub is_batch: bool,
    /// How much longer the client's body is than what stands for it: what only Google knows counts too.
    pub n_unseen_bytes: u64,
    /// Each text's request, without its model.
    requests: Vec<Rest>,
}

impl GoogleEmbedding {
    /// Reads a request; `model` is the one of the path.
    ///
    /// # Errors
    /// Invalid JSON, a missing member, one of the wrong type, content that is no text.
    pub fn read(model: &str, is_batch: bool, body: &[u8]) -> Result<Self, ReadError> {
        let root = Node::parse(body)?;
        let nodes = if is_batch { root.object()?.required("requests")?.array()? } else { vec![root] };
        let mut texts = Vec::with_capacity(nodes.len());
        let mut dimensions = None;
        let mut only_google = None;
        let mut requests = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let mut members = node.google_object()?;
            members.take_any("model");
            requests.push(members.rest());
            let mut members = node.google_object()?;
            members.take_any("model");
            texts.push(text_of(&members.required("content")?)?);
            let asked = match members.take_either("outputDimensionality", "output_dimensionality") {
                Some(count) => Some(count.count()?),
                None => None,
            };
            if index > 0 && asked != dimensions {
                only_google = Some("outputDimensionality".to_owned());
            }
            dimensions = asked;
            only_google = only_google.or_else(|| Some(members.rest().iter().next()?.0.to_owned()));
        }
        if texts.is_empty() {
            return Err(root_error("requests", "must have at least one request").into());
        }
        let as_openai = JsonWriter::document(body.len() + 64, |writer| {
            writer.member_string("model", model);
            writer.member_array("input", |writer| texts.iter().for_each(|text| writer.string(text)));
            writer.member_count_if("dimensions", dimensions);
        });
        let n_unseen_bytes = body.len().saturating_sub(as_openai.len()) as u64;
        Ok(Self { as_openai, only_google, is_batch, n_unseen_bytes, requests })
    }

    /// The request as a provider of the same dialect gets it: its members as they came, with the provider's model.
    #[must_use]
    pub fn write(&self, model: &str) -> Vec<u8> {
        let model = format!("models/{}", model.trim_start_matches("models/"));
        JsonWriter::document(self.as_openai.len() + 128, |writer| {
            writer.member_array("requests", |writer| {
                for request in &self.requests {
                    writer.object(|writer| {
                        writer.member_string("model", &model);
                        writer.rest(request);
                    });
                }
            });
        })
    }

    /// Whether a provider of `dialect` (`None`: OpenAI's) can serve it.
    ///
    /// # Errors
    /// It has a member that only Google knows.
    pub fn check(&self, dialect: Option<EmbeddingDialect>) -> Result<(), FieldError> {
        match &self.only_google {
            Some(name) if dialect != Some(EmbeddingDialect::Gemini) => {
                Err(root_error(name, "is not supported by this provider: leave it out"))
            }
            _ => Ok(()),
        }
    }

    /// OpenAI's answer as Google's.
    ///
    /// # Errors
    /// The answer is not OpenAI's.
    pub fn answer(&self, openai: &[u8]) -> Result<Vec<u8>, ReadError> {
        let mut members = Node::parse(openai)?.object()?;
        let vectors: Vec<RawJson> = members
            .required("data")?
            .array()?
            .iter()
            .map(|one| Ok(one.object()?.required("embedding")?.raw()))
            .collect::<Result<_, FieldError>>()?;
        let tokens = match members.take("usage") {
            Some(usage) => usage.object()?.count("prompt_tokens")?,
            None => None,
        };
        let write = |writer: &mut JsonWriter, vector: &RawJson| writer.member_raw("values", vector);
        Ok(JsonWriter::document(openai.len() + 64, |writer| {
            if self.is_batch {
                writer.member_array("embeddings", |writer| {
                    vectors.iter().for_each(|vector| writer.object(|writer| write(writer, vector)));
                });
            } else if let Some(vector) = vectors.first() {
                writer.member_object("embedding", |writer| write(writer, vector));
            }
            if let Some(tokens) = tokens {
                writer.member_object("usageMetadata", |writer| {
                    writer.member_count("promptTokenCount", tokens);
                });
            }
        }))
    }
}

fn root_error(path: &str, message: &str) -> FieldError {
    FieldError { path: path.to_owned(), message: message.to_owned() }
}

/// The text of a content's parts, one after the other, as Google embeds them.
fn text_of(content: &Node<'_>) -> Result<String, FieldError> {
    let parts = content.google_object()?.required("parts")?;
    let mut text = String::new();
    for part in parts.array()? {
        match part.google_object()?.take("text") {
            Some(piece) => text.push_str(&piece.string()?),
            None => return Err(part.error("must be a text: nothing else is embedded here")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn requests_become_openais_and_stay_googles() {
        let one = br#"{"model":"models/x","content":{"parts":[{"text":"a"},{"text":"b"}]},"outputDimensionality":8}"#;
        let read = GoogleEmbedding::read("m", false, one).unwrap();
        assert_eq!(text(read.as_openai.clone()), r#"{"model":"m","input":["ab"],"dimensions":8}"#);
        assert_eq!(
            text(read.write("up")),
            r#"{"requests":[{"model":"models/up","content":{"parts":[{"text":"a"},{"text":"b"}]},"outputDimensionality":8}]}"#
        );
        assert!(read.check(None).is_ok());
        let batch = br#"{"requests":[{"content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING"},{"content":{"parts":[{"text":"c"}]}}]}"#;
        let read = GoogleEmbedding::read("m", true, batch).unwrap();
        assert_eq!(text(read.as_openai.clone()), r#"{"model":"m","input":["a","c"]}"#);
        assert!(read.check(Some(EmbeddingDialect::Gemini)).is_ok());
        let refused = read.check(Some(EmbeddingDialect::Cohere)).unwrap_err();
        assert_eq!(refused.path, "taskType");
        for wrong in [
            &br#"{"requests":[]}"#[..],
            br#"{"requests":[{"content":{"parts":[{"inlineData":{}}]}}]}"#,
            br#"{"content":{"parts":[{"text":"a"}]}}"#,
            b"[]",
        ] {
            assert!(GoogleEmbedding::read("m", true, wrong).is_err());
        }
    }

    #[test]
    fn answers_become_googles() {
        let one = br#"{"content":{"parts":[{"text":"a"}]}}"#;
        let read = GoogleEmbedding::read("m", false, one).unwrap();
        let answer =
            br#"{"object":"list","data":[{"embedding":[0.50,-1]}],"usage":{"prompt_tokens":3,"cost":0.1}}"#;
        assert_eq!(
            text(read.answer(answer).unwrap()),
            r#"{"embedding":{"values":[0.50,-1]},"usageMetadata":{"promptTokenCount":3}}"#
        );
        let batch = GoogleEmbedding { is_batch: true, ..read };
        assert_eq!(
            text(batch.answer(br#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#).unwrap()),
            r#"{"embeddings":[{"values":[1]},{"values":[2]}]}"#
        );
        assert!(batch.answer(b"{}").is_err());
    }
}
