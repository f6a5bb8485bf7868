//! Answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::EmbeddingDialect;
use crate::json::{FieldError, JsonWriter, Kind, Node, RawJson, ReadError};

/// A provider's answer as OpenAI's. `told_tokens` is what the provider says beside the body (Bedrock's headers); without
/// any count the answer has no `usage`.
///
/// # Errors
/// The body is not what the dialect has.
pub fn as_openai(
    dialect: EmbeddingDialect,
    body: &[u8],
    model: &str,
    is_base64: bool,
    told_tokens: Option<u64>,
) -> Result<Vec<u8>, ReadError> {
    let root = Node::parse(body)?;
    let (vectors, counted) = read(dialect, &root)?;
    let vectors: Vec<Vector> =
        vectors.iter().map(|node| vector(node, is_base64)).collect::<Result<_, FieldError>>()?;
    let tokens = counted.or(told_tokens);
    Ok(JsonWriter::document(body.len() + 256, |writer| {
        writer.member_string("object", "list");
        writer.member_array("data", |writer| {
            for (index, vector) in (0..).zip(&vectors) {
                writer.object(|writer| {
                    writer.member_string("object", "embedding");
                    writer.member_count("index", index);
                    match vector {
                        Vector::Numbers(numbers) => writer.member_raw("embedding", numbers),
                        Vector::Base64(text) => writer.member_string("embedding", text),
                    }
                });
            }
        });
        writer.member_string("model", model);
        if let Some(tokens) = tokens {
            writer.member_object("usage", |writer| {
                writer.member_count("prompt_tokens", tokens);
                writer.member_count("total_tokens", tokens);
            });
        }
    }))
}

enum Vector {
    Numbers(RawJson),
    Base64(String),
}

/// The vectors, and the prompt's tokens where the body tells them.
fn read<'a>(dialect: EmbeddingDialect, root: &Node<'a>) -> Result<(Vec<Node<'a>>, Option<u64>), FieldError> {
    let mut members = root.object()?;
    match dialect {
        EmbeddingDialect::Gemini => {
            let list = members.required("embeddings")?.array()?;
            let vectors =
                list.iter().map(|one| one.object()?.required("values")).collect::<Result<_, _>>()?;
            let tokens = match members.take("usageMetadata") {
                Some(usage) => usage.object()?.count("promptTokenCount")?,
                None => None,
            };
            Ok((vectors, tokens))
        }
        EmbeddingDialect::Vertex => read_vertex(&members.required("predictions")?),
        EmbeddingDialect::Titan => {
            let tokens = members.count("inputTextTokenCount")?;
            Ok((vec![members.required("embedding")?], tokens))
        }
        EmbeddingDialect::Cohere | EmbeddingDialect::CohereOnBedrock => {
            let embeddings = members.required("embeddings")?;
            let vectors = match embeddings.kind() {
                Kind::Array => embeddings.array()?,
                _ => embeddings.object()?.required("float")?.array()?,
            };
            let tokens = match members.take("meta") {
                Some(meta) => match meta.object()?.take("billed_units") {
                    Some(units) => units.object()?.count("input_tokens")?,
                    None => None,
                },
                None => None,
            };
            Ok((vectors, tokens))
        }
    }
}

/// Each vector has its own count there; where one lacks, none is known.
fn read_vertex<'a>(predictions: &Node<'a>) -> Result<(Vec<Node<'a>>, Option<u64>), FieldError> {
    let mut vectors = Vec::new();
    let mut tokens = Some(0_u64);
    for prediction in predictions.array()? {
        let mut embeddings = prediction.object()?.required("embeddings")?.object()?;
        vectors.push(embeddings.required("values")?);
        let counted = match embeddings.take("statistics") {
            Some(statistics) => statistics.object()?.count("token_count")?,
            None => None,
        };
        tokens = tokens.zip(counted).and_then(|(sum, more)| sum.checked_add(more));
    }
    Ok((vectors, tokens))
}

fn vector(node: &Node<'_>, is_base64: bool) -> Result<Vector, FieldError> {
    let numbers = node.array()?;
    if !is_base64 {
        return Ok(Vector::Numbers(node.raw()));
    }
    let mut bytes = Vec::with_capacity(numbers.len() * 4);
    for number in &numbers {
        let value: f32 = number.number()?.text().parse().map_err(|_| number.error("must be a number"))?;
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    Ok(Vector::Base64(STANDARD.encode(bytes)))
}
