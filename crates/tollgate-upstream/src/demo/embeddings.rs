//! Embeddings: unit vectors that depend on nothing but the input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use serde_json::{Value, json};
use tollgate_wire::openai::request::{RequestError, RequestSkim};

use super::{hash, json_response, n_tokens};
use crate::UpstreamBody;

/// Numbers in a vector unless `dimensions` says otherwise.
const DEFAULT_DIMENSIONS: u64 = 64;
/// As OpenAI's largest.
const MAX_DIMENSIONS: u64 = 3_072;

pub(super) fn answer(skim: &RequestSkim, parsed: &Value) -> Result<Response<UpstreamBody>, RequestError> {
    let n_dimensions = match &parsed["dimensions"] {
        Value::Null => DEFAULT_DIMENSIONS,
        value => value.as_u64().filter(|n| (1..=MAX_DIMENSIONS).contains(n)).ok_or_else(|| RequestError {
            message: format!("`dimensions` must be an integer between 1 and {MAX_DIMENSIONS}"),
            param: Some("dimensions".to_owned()),
        })?,
    };
    let as_base64 = parsed["encoding_format"] == "base64";
    let inputs: Vec<&Value> = match &parsed["input"] {
        Value::Array(items) if !items.first().is_some_and(Value::is_number) => items.iter().collect(),
        input => vec![input],
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = unit_vector(hash(input.to_string().as_bytes()), n_dimensions);
            let embedding = if as_base64 { base64_of(&vector) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let prompt_tokens: u64 = inputs.iter().map(|input| input_tokens(input)).sum();
    let body = json!({
        "object": "list",
        "data": data,
        "model": skim.model.as_deref().unwrap_or("demo-embed"),
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    });
    Ok(json_response(body.to_string()))
}

fn input_tokens(input: &Value) -> u64 {
    match input {
        Value::String(text) => n_tokens(text.len()).max(1),
        Value::Array(ids) => ids.len() as u64,
        _ => 1,
    }
}

fn unit_vector(seed: u64, n_dimensions: u64) -> Vec<f32> {
    let numbers: Vec<f32> = (1..=n_dimensions).map(|index| number(seed.wrapping_add(index))).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    numbers.into_iter().map(|number| number / length).collect()
}

/// One of splitmix64's outputs, between -1 and 1 and never 0.
fn number(seed: u64) -> f32 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = ((mixed >> 48) as u16) | 1;
    f32::from(bits) / 32_768.0 - 1.0 + f32::EPSILON
}

fn base64_of(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    Value::String(STANDARD.encode(bytes))
}
