use serde_json::{Value, json};

use super::*;

const ALL: [EmbeddingDialect; 5] = [
    EmbeddingDialect::Gemini,
    EmbeddingDialect::Vertex,
    EmbeddingDialect::Cohere,
    EmbeddingDialect::Titan,
    EmbeddingDialect::CohereOnBedrock,
];

fn read(body: &Value) -> Result<EmbeddingRequest, String> {
    read_request(body.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn requests_are_written_in_every_dialect() {
    let request = read(&json!({"model": "x", "input": ["a", "b"], "dimensions": 2, "user": "u"})).unwrap();
    let content = |text: &str| json!({"model": "models/m", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2});
    let expected = [
        json!({"requests": [content("a"), content("b")]}),
        json!({"instances": [{"content": "a"}, {"content": "b"}], "parameters": {"outputDimensionality": 2}}),
        json!({"model": "m", "texts": ["a", "b"], "input_type": "search_document", "output_dimension": 2, "embedding_types": ["float"]}),
        Value::Null,
        json!({"texts": ["a", "b"], "input_type": "search_document", "output_dimension": 2}),
    ];
    for (dialect, expected) in ALL.into_iter().zip(expected) {
        let written = write_request(&request, dialect, "m");
        match written {
            Ok(body) => assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected, "{dialect:?}"),
            Err(error) => {
                assert_eq!((dialect, error.path.as_str()), (EmbeddingDialect::Titan, "input"), "{error}");
            }
        }
    }
    let one = read(&json!({"input": "é\"", "dimensions": 256, "input_type": "search_query"})).unwrap();
    let titan = write_request(&one, EmbeddingDialect::Titan, "m").unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&titan).unwrap(),
        json!({"inputText": "é\"", "dimensions": 256})
    );
    let cohere: Value =
        serde_json::from_slice(&write_request(&one, EmbeddingDialect::Cohere, "m").unwrap()).unwrap();
    assert_eq!(cohere["input_type"], "search_query");
}

#[test]
fn what_only_openai_takes_is_refused_by_name() {
    let cases = [
        (json!({"input": [1, 2]}), "input[0]"),
        (json!({"input": [[1, 2]]}), "input[0]"),
        (json!({"input": []}), "input"),
        (json!({}), "input"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
        (json!({"input": "a", "dimensions": "2"}), "dimensions"),
        (json!({"input": "a", "brand_new": 1}), "brand_new"),
    ];
    for (body, path) in cases {
        let error = read(&body).unwrap_err();
        assert!(error.starts_with(&format!("`{path}` ")), "{body}: {error}");
    }
}

#[test]
fn answers_become_openais() {
    let bodies = [
        (json!({"embeddings": [{"values": [0.5, -1]}, {"values": [2, 3]}]}), None),
        (
            json!({"predictions": [{"embeddings": {"values": [0.5, -1], "statistics": {"token_count": 3, "truncated": false}}},
                {"embeddings": {"values": [2, 3], "statistics": {"token_count": 4}}}]}),
            Some(7),
        ),
        (
            json!({"id": "i", "embeddings": {"float": [[0.5, -1], [2, 3]]}, "meta": {"billed_units": {"input_tokens": 7}}}),
            Some(7),
        ),
        (json!({"embedding": [0.5, -1], "inputTextTokenCount": 7}), Some(7)),
        (json!({"embeddings": [[0.5, -1], [2, 3]], "response_type": "embeddings_floats"}), Some(9)),
    ];
    for (dialect, (body, tokens)) in ALL.into_iter().zip(bodies) {
        let told = (dialect == EmbeddingDialect::CohereOnBedrock).then_some(9);
        let body = body.to_string();
        let out: Value =
            serde_json::from_slice(&as_openai(dialect, body.as_bytes(), "m", false, told).unwrap()).unwrap();
        let first = json!({"object": "embedding", "index": 0, "embedding": [0.5, -1]});
        assert_eq!(
            (&out["object"], &out["model"], &out["data"][0]),
            (&json!("list"), &json!("m"), &first),
            "{dialect:?}"
        );
        let usage = tokens.map(|tokens| json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        assert_eq!(out.get("usage"), usage.as_ref(), "{dialect:?}");
        let out: Value =
            serde_json::from_slice(&as_openai(dialect, body.as_bytes(), "m", true, told).unwrap()).unwrap();
        assert_eq!(out["data"][0]["embedding"], "AAAAPwAAgL8=", "{dialect:?}");
        for wrong in ["{}", "[]", r#"{"embeddings":5,"embedding":5,"predictions":5}"#] {
            assert!(as_openai(dialect, wrong.as_bytes(), "m", false, None).is_err(), "{dialect:?}: {wrong}");
        }
    }
    let google =
        json!({"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 5}}).to_string();
    let out = as_openai(EmbeddingDialect::Gemini, google.as_bytes(), "m", false, None).unwrap();
    assert!(String::from_utf8(out).unwrap().contains(r#""prompt_tokens":5"#));
}
