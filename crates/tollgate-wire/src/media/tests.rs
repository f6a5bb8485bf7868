use std::sync::Arc;

use bytes::Bytes;
use tollgate_domain::{Meter, NanoUsd, Surface, Usage};

use super::*;
use crate::openai::response::AnswerShape;
use crate::openai::stream::{RelayEvent, StreamEnd};
use crate::openai::usage::{UsageReading, with_cost};

const JSON: Option<&str> = Some("application/json");
const FORM: Option<&str> = Some("multipart/form-data; boundary=XX");

fn of(surface: Surface, body: &str) -> MediaRequest {
    read(surface, JSON, &Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn form(fields: &[(&str, &str)]) -> Bytes {
    let mut text = String::new();
    for (name, content) in fields {
        let is_file = name.starts_with("image") || matches!(*name, "file" | "mask");
        let file = if is_file { "; filename=\"f\"" } else { "" };
        text.push_str(&format!(
            "--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
        ));
    }
    Bytes::from(text + "--XX--\r\n")
}

#[test]
fn what_bounds_a_request() {
    use Meter::{Character, Image, Search};
    let many = format!(r#"{{"query":"q","documents":[{}]}}"#, vec!["\"d\""; 101].join(","));
    let long = format!(r#"{{"query":"q","documents":["{}"]}}"#, "d".repeat(250 * 150));
    let cases = [
        (Surface::Moderations, r#"{"input":"abc"}"#.to_owned(), Usage::ZERO, 15 + 64, 0),
        (
            Surface::Rerank,
            r#"{"query":"q","documents":["a",{"text":"b"}]}"#.to_owned(),
            Usage::ZERO.with(Search, 1),
            130,
            0,
        ),
        (Surface::Rerank, many, Usage::ZERO.with(Search, 2), 1_606, 0),
        (Surface::Rerank, long, Usage::ZERO.with(Search, 2), 37_605, 0),
        (
            Surface::Speech,
            r#"{"input":"h\u00e9llo","voice":"v"}"#.to_owned(),
            Usage::ZERO.with(Character, 5),
            70,
            637,
        ),
        (
            Surface::Speech,
            r#"{"input":"hello","speed":0.25}"#.to_owned(),
            Usage::ZERO.with(Character, 5),
            69,
            5 * 25 * 5 + 512,
        ),
        (Surface::Images, r#"{"prompt":"cat"}"#.to_owned(), Usage::ZERO.with(Image, 1), 69, 11_797 + 2_048),
        (
            Surface::Images,
            r#"{"prompt":"cat","n":2,"size":"1024x1024","quality":"low","partial_images":1}"#.to_owned(),
            Usage::ZERO.with(Image, 2),
            69,
            2 * (525 + 128) + 2_048,
        ),
        (
            Surface::ImageEdits,
            r#"{"prompt":"cat","images":[{"image_url":"https://x"}],"size":"1000x1000"}"#.to_owned(),
            Usage::ZERO.with(Image, 1),
            69 + 16_384,
            5_000 + 2_048,
        ),
    ];
    for (surface, body, units, input_tokens, output_tokens) in cases {
        let bounds = of(surface, &body).bounds;
        assert_eq!(bounds, MediaBounds { input_tokens, output_tokens, units }, "{body:.120}");
    }
}

#[test]
fn what_bounds_a_form() {
    let sound = "O".repeat(5_000);
    let body = form(&[("model", "w"), ("file", &sound), ("prompt", "abc"), ("stream", "true")]);
    let request = read(Surface::Transcriptions, FORM, &body).unwrap();
    assert_eq!((request.model.as_deref(), request.stream, request.is_form()), (Some("w"), true, true));
    assert_eq!(
        request.bounds,
        MediaBounds {
            input_tokens: 10 * 50 + 67,
            output_tokens: 224,
            units: Usage::ZERO.with(Meter::Second, 10)
        }
    );
    assert_eq!(request.expected.get(Meter::Second), 2);
    let body = form(&[
        ("image[]", "1"),
        ("image[]", "2"),
        ("mask", "3"),
        ("prompt", "abc"),
        ("n", "2"),
        ("user", "u"),
    ]);
    let request = read(Surface::ImageEdits, FORM, &body).unwrap();
    assert_eq!((request.bounds.units.get(Meter::Image), request.user.as_deref()), (2, Some("u")));
    assert_eq!(request.bounds.input_tokens, 3 + 64 + 3 * 16_384);
    let body = form(&[("image", "1")]);
    assert_eq!(read(Surface::ImageVariations, FORM, &body).unwrap().bounds.units.get(Meter::Image), 1);
}

#[test]
fn wrong_requests_name_what_is_wrong() {
    let json = [
        (Surface::Moderations, r#"{}"#, "input"),
        (Surface::Moderations, r#"{"input":5}"#, "input"),
        (Surface::Moderations, r#"{"input":[5]}"#, "input[0]"),
        (Surface::Moderations, r#"{"input":"a","Input":"b"}"#, "input"),
        (Surface::Moderations, r#"{"input":"a","model":""}"#, "model"),
        (Surface::Moderations, r#"{"input":"a","model":5}"#, "model"),
        (Surface::Rerank, r#"{"documents":["a"]}"#, "query"),
        (Surface::Rerank, r#"{"query":"a","documents":[]}"#, "documents"),
        (Surface::Rerank, r#"{"query":"a","documents":[1]}"#, "documents[0]"),
        (Surface::Speech, r#"{"input":""}"#, "input"),
        (Surface::Images, r#"{"prompt":"a","n":0}"#, "n"),
        (Surface::Images, r#"{"prompt":"a","n":1e3}"#, "n"),
        (Surface::Images, r#"{"prompt":"a","stream":"yes"}"#, "stream"),
        (Surface::ImageEdits, r#"{"prompt":"a"}"#, "images"),
    ];
    for (surface, body, param) in json {
        let error = read(surface, JSON, &Bytes::from_static(body.as_bytes())).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
    }
    for body in ["[]", "", "{", r#"{"input":"a","input":"b"}"#] {
        assert!(read(Surface::Moderations, JSON, &Bytes::from_static(body.as_bytes())).is_err(), "{body}");
    }
    let forms: [(&[(&str, &str)], &str); 7] = [
        (&[], "file"),
        (&[("file", "a"), ("file", "b")], "file"),
        (&[("file", "a"), ("model", "a"), ("model", "b")], "model"),
        (&[("file", "a"), ("Model", "b")], "model"),
        (&[("file", "a"), ("stream", "maybe")], "stream"),
        (&[("file", "a"), ("url", "https://x")], "url"),
        (&[("file", "a"), ("file_url", "https://x")], "file_url"),
    ];
    for (fields, param) in forms {
        let error = match fields {
            [] => read(Surface::Transcriptions, FORM, &form(&[("model", "m")])).unwrap_err(),
            _ => read(Surface::Transcriptions, FORM, &form(fields)).unwrap_err(),
        };
        assert_eq!(error.param.as_deref(), Some(param), "{fields:?}: {error}");
    }
}

#[test]
fn the_model_is_replaced_and_nothing_else() {
    let body = Bytes::from_static(br#"{ "input":"a", "model":"x", "later":[1.50] }"#);
    let request = read(Surface::Moderations, JSON, &body).unwrap();
    assert_eq!(request.body_for(&body, "x").unwrap(), body);
    assert_eq!(
        request.body_for(&body, "y\"z").unwrap(),
        br#"{ "input":"a", "model":"y\"z", "later":[1.50] }"#.as_slice()
    );
    let body = form(&[("file", "\0\x01"), ("model", "x")]);
    let request = read(Surface::Transcriptions, FORM, &body).unwrap();
    assert_eq!(request.body_for(&body, "y").unwrap(), form(&[("file", "\0\x01"), ("model", "y")]));
    assert!(request.body_for(&body, "y\r\n--XX").is_err());
}

fn told(request: &MediaRequest, body: &str) -> UsageReading {
    let answer = read_answer(request, true, body.as_bytes());
    assert_eq!(answer.shape, AnswerShape::Json, "{body}");
    answer.usage
}

#[test]
fn what_answers_count() {
    use Meter::{
        Character, Image, Input, InputAudio, InputImage, Output, OutputAudio, OutputImage, Search, Second,
    };
    let images = of(Surface::Images, r#"{"prompt":"cat","n":3}"#);
    let body = r#"{"data":[{},{}],"usage":{"input_tokens":10,"output_tokens":300,"total_tokens":310,"input_tokens_details":{"text_tokens":4,"image_tokens":6}}}"#;
    let UsageReading::Counted(usage, span) = told(&images, body) else { panic!("no usage") };
    let expected = Usage::ZERO.with(Input, 4).with(InputImage, 6).with(OutputImage, 300).with(Image, 2);
    assert_eq!(usage, expected);
    let priced = with_cost(body.as_bytes(), &span, NanoUsd(5));
    assert!(String::from_utf8(priced).unwrap().contains(r#""image_tokens":6},"cost":0.000000005}"#));
    let made = told(&images, r#"{"created":1,"data":[{},{}]}"#);
    assert!(matches!(made, UsageReading::Inferred(usage) if usage.get(Image) == 2), "{made:?}");

    let rerank = of(Surface::Rerank, r#"{"query":"q","documents":["a"]}"#);
    let cohere = told(&rerank, r#"{"results":[],"meta":{"billed_units":{"search_units":2.0}}}"#);
    assert!(
        matches!(cohere, UsageReading::Told(usage) if usage == Usage::ZERO.with(Search, 2)),
        "{cohere:?}"
    );
    let jina = told(&rerank, r#"{"results":[],"usage":{"total_tokens":38}}"#);
    assert!(matches!(jina, UsageReading::Counted(usage, _) if usage.get(Input) == 38), "{jina:?}");

    let sound = form(&[("file", &"O".repeat(8_000))]);
    let heard = read(Surface::Transcriptions, FORM, &sound).unwrap();
    let by_time = told(&heard, r#"{"text":"hi","usage":{"type":"duration","seconds":9}}"#);
    assert!(matches!(by_time, UsageReading::Counted(usage, _) if usage.get(Second) == 9), "{by_time:?}");
    let verbose = told(&heard, r#"{"text":"hi","duration":8.47}"#);
    assert!(matches!(verbose, UsageReading::Inferred(usage) if usage.get(Second) == 9), "{verbose:?}");
    let by_token = told(
        &heard,
        r#"{"text":"hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":10,"audio_tokens":4},"output_tokens":5,"total_tokens":19}}"#,
    );
    let expected = Usage::ZERO.with(Input, 10).with(InputAudio, 4).with(Output, 5).with(Second, 2);
    assert!(matches!(by_token, UsageReading::Counted(usage, _) if usage == expected), "{by_token:?}");
    let subtitles = read_answer(&heard, false, b"1\n00:00:00 --> 00:00:02\nhi\n");
    assert!(
        matches!(subtitles.usage, UsageReading::Inferred(usage) if usage.get(Second) == 2),
        "{subtitles:?}"
    );

    let spoken = of(Surface::Speech, r#"{"input":"hello"}"#);
    let answer = read_answer(&spoken, false, b"\xff\xfb");
    let expected = Usage::ZERO.with(Input, 2).with(OutputAudio, 10).with(Character, 5);
    assert!(matches!(answer.usage, UsageReading::Inferred(usage) if usage == expected), "{answer:?}");

    assert_eq!(read_answer(&images, true, b"<html>").shape, AnswerShape::NotJson);
    assert!(read_answer(&images, true, br#"{"error":{"message":"no"}}"#).is_error);
    let odd = told(&images, r#"{"data":[],"usage":{"input_tokens":-1}}"#);
    assert!(matches!(odd, UsageReading::Unusable(..)), "{odd:?}");
}

#[test]
fn events_pass_and_their_usage_is_read_at_every_split() {
    let text = concat!(
        "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"aaaa\"}\n\n",
        "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"bb\",",
        "\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12}}\n\n",
    );
    let request = Arc::new(of(Surface::Images, r#"{"prompt":"cat","stream":true}"#));
    for split in 0..text.len() {
        let mut relay = MediaRelay::new(Arc::clone(&request), true);
        let mut events = Vec::new();
        for part in [&text[..split], &text[split..]] {
            relay.push(Bytes::copy_from_slice(part.as_bytes()), &mut events).unwrap();
        }
        assert_eq!(relay.finish(true, &mut events), StreamEnd::Complete);
        let expected = Usage::ZERO.with(Meter::Input, 5).with(Meter::OutputImage, 7).with(Meter::Image, 1);
        assert_eq!(relay.usage(), Some(expected), "{split}");
        let mut out = Vec::new();
        for event in events {
            match event {
                RelayEvent::Forward(bytes) => out.extend_from_slice(&bytes),
                RelayEvent::Usage { frame, .. } => out.extend(frame.with_cost(NanoUsd(1_000)).unwrap()),
                RelayEvent::ProviderError(error) => panic!("{error:?}"),
            }
        }
        let expected = text.replace("12}}", "12,\"cost\":0.000001}}");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{split}");
    }
}

#[test]
fn streams_that_break_are_told() {
    let request = Arc::new(of(Surface::Images, r#"{"prompt":"cat","stream":true}"#));
    let mut relay = MediaRelay::new(Arc::clone(&request), true);
    let mut events = Vec::new();
    relay
        .push(
            Bytes::from_static(b"data: {\"type\":\"error\",\"error\":{\"message\":\"no\"}}\n\n"),
            &mut events,
        )
        .unwrap();
    assert!(matches!(&events[..], [RelayEvent::ProviderError(_)]), "{events:?}");
    assert_eq!(relay.finish(true, &mut events), StreamEnd::Broken);
    let spoken = Arc::new(of(Surface::Speech, r#"{"input":"hello"}"#));
    let mut relay = MediaRelay::new(spoken, false);
    assert!(!relay.content_begun());
    relay.push(Bytes::from_static(b"\xff\xfb"), &mut events).unwrap();
    assert_eq!(relay.finish(false, &mut events), StreamEnd::Broken);
    assert_eq!(relay.finish(true, &mut events), StreamEnd::Complete);
    assert_eq!(relay.counted().get(Meter::Character), 5);
}
