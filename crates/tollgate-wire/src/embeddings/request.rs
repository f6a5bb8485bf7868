//! Requests.

use super::EmbeddingDialect;
use crate::json::{FieldError, JsonWriter, Kind, Node, ReadError};

/// What Cohere is told of texts whose use the client does not tell: that they are to be found later.
const DEFAULT_INPUT_TYPE: &str = "search_document";

/// What OpenAI's request says. `Debug` is for tests' data only: nothing logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingRequest {
    /// The texts, in order; at least one.
    pub inputs: Vec<String>,
    /// How long the vectors are to be.
    pub dimensions: Option<u64>,
    /// Whether vectors are wanted as base64 of little-endian 32-bit floats.
    pub is_base64: bool,
    /// Cohere's `input_type`, for clients that tell it.
    pub input_type: Option<String>,
}

/// Reads a request of OpenAI's.
///
/// # Errors
/// Invalid JSON, members of the wrong type, token ids instead of texts (only OpenAI's own models know them), a member
/// that no other dialect has.
pub fn read_request(body: &[u8]) -> Result<EmbeddingRequest, ReadError> {
    let mut members = Node::parse(body)?.object()?;
    let input = members.required("input")?;
    let inputs = match input.kind() {
        Kind::String => vec![input.string()?.into_owned()],
        _ => input.array()?.iter().map(read_text).collect::<Result<_, _>>()?,
    };
    if inputs.is_empty() {
        return Err(input.error("must have at least one text").into());
    }
    let is_base64 = match members.take("encoding_format") {
        None => false,
        Some(format) => match &*format.string()? {
            "float" => false,
            "base64" => true,
            _ => return Err(format.error("must be `float` or `base64`").into()),
        },
    };
    let dimensions = members.count("dimensions")?;
    let input_type = members.string("input_type")?;
    for known in ["model", "user"] {
        members.take_any(known);
    }
    if let Some((name, _)) = members.rest().iter().next() {
        let message = "is not supported by this provider: leave it out".to_owned();
        return Err(FieldError { path: name.to_owned(), message }.into());
    }
    Ok(EmbeddingRequest { inputs, dimensions, is_base64, input_type })
}

fn read_text(node: &Node<'_>) -> Result<String, FieldError> {
    match node.kind() {
        Kind::String => node.string().map(std::borrow::Cow::into_owned),
        _ => Err(node.error("must be a text: this provider takes no token ids")),
    }
}

/// Writes a request's body as a provider gets it; `model` is its name there.
///
/// # Errors
/// The dialect takes one text at a time, and there are more.
pub fn write_request(
    request: &EmbeddingRequest,
    dialect: EmbeddingDialect,
    model: &str,
) -> Result<Vec<u8>, FieldError> {
    if dialect == EmbeddingDialect::Titan && request.inputs.len() > 1 {
        let message = format!("must be one text: {} takes one at a time", dialect.name());
        return Err(FieldError { path: "input".to_owned(), message });
    }
    let capacity = request.inputs.iter().map(|text| text.len() + 96).sum::<usize>() + 128;
    Ok(JsonWriter::document(capacity, |writer| match dialect {
        EmbeddingDialect::Gemini => write_gemini(writer, request, model),
        EmbeddingDialect::Vertex => write_vertex(writer, request),
        EmbeddingDialect::Cohere => {
            writer.member_string("model", model);
            write_cohere(writer, request);
            writer.member_array("embedding_types", |writer| writer.string("float"));
        }
        EmbeddingDialect::CohereOnBedrock => write_cohere(writer, request),
        EmbeddingDialect::Titan => {
            writer.member_string("inputText", request.inputs.first().map_or("", String::as_str));
            writer.member_count_if("dimensions", request.dimensions);
        }
    }))
}

fn write_gemini(writer: &mut JsonWriter, request: &EmbeddingRequest, model: &str) {
    let model = format!("models/{}", model.trim_start_matches("models/"));
    writer.member_array("requests", |writer| {
        for text in &request.inputs {
            writer.object(|writer| {
                writer.member_string("model", &model);
                writer.member_object("content", |writer| {
                    writer.member_array("parts", |writer| {
                        writer.object(|writer| writer.member_string("text", text));
                    });
                });
                writer.member_count_if("outputDimensionality", request.dimensions);
            });
        }
    });
}

fn write_vertex(writer: &mut JsonWriter, request: &EmbeddingRequest) {
    writer.member_array("instances", |writer| {
        for text in &request.inputs {
            writer.object(|writer| writer.member_string("content", text));
        }
    });
    if let Some(dimensions) = request.dimensions {
        writer.member_object("parameters", |writer| writer.member_count("outputDimensionality", dimensions));
    }
}

fn write_cohere(writer: &mut JsonWriter, request: &EmbeddingRequest) {
    writer.member_array("texts", |writer| request.inputs.iter().for_each(|text| writer.string(text)));
    writer.member_string("input_type", request.input_type.as_deref().unwrap_or(DEFAULT_INPUT_TYPE));
    writer.member_count_if("output_dimension", request.dimensions);
}
