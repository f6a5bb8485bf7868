//! What is run, and what must hold.

use bytes::Bytes;
use tollgate_domain::{NanoUsd, Surface};
use tollgate_wire::bedrock::event_stream;
use tollgate_wire::json::{Node, validate};
use tollgate_wire::multipart::Form;
use tollgate_wire::neutral::{ChatDialect, Mode, StreamEvent};
use tollgate_wire::openai::request::skim;
use tollgate_wire::openai::responses::ResponseEcho;
use tollgate_wire::openai::stream::{RelayEvent, StreamOptions, StreamRelay};
use tollgate_wire::sse::Decoder;
use tollgate_wire::translate::{
    AnswerContext, Asked, RelayContext, RequestTarget, StreamReader, TranslatingRelay, pass_request,
    read_answer, read_request, write_answer, write_request,
};

use crate::{corpus, fuzz};

const CLIENTS: [ChatDialect; 4] =
    [ChatDialect::OpenAiChat, ChatDialect::OpenAiResponses, ChatDialect::Anthropic, ChatDialect::Gemini];

/// Where an input is cut in two: told by its own bytes, so that it repeats.
fn cut(input: &[u8]) -> usize {
    let sum = input.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    sum % (input.len() + 1)
}

// === JSON ===

#[test]
fn json_scanner() {
    fuzz("json", &corpus::json(), |input| {
        let is_valid = validate(input).is_ok();
        assert_eq!(is_valid, Node::parse(input).is_ok(), "the scanner and the nodes disagree");
        if is_valid {
            assert!(
                serde_json::from_slice::<serde::de::IgnoredAny>(input).is_ok(),
                "what serde refuses was let through"
            );
        }
    });
}

#[test]
fn request_skim() {
    fuzz("skim", &corpus::requests("openai_chat"), |input| {
        for surface in [Surface::Chat, Surface::Completions, Surface::Embeddings] {
            if skim(surface, input).is_ok() {
                assert!(validate(input).is_ok(), "what is no JSON was let through");
            }
        }
    });
}

// === framing ===

#[test]
fn sse_decoder() {
    fuzz("sse", &corpus::events(), |input| {
        let frames = |pieces: &[&[u8]]| {
            let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
            let is_ok =
                pieces.iter().all(|piece| decoder.push(Bytes::copy_from_slice(piece), &mut frames).is_ok());
            let data: Vec<_> =
                frames.iter().filter_map(|frame| frame.data().map(|data| data.to_vec())).collect();
            (is_ok, data)
        };
        let (left, right) = input.split_at(cut(input));
        assert_eq!(frames(&[left, right]), frames(&[input]), "a split changes what is read");
    });
}

#[test]
fn amazon_event_stream() {
    fuzz("event_stream", &corpus::streams("bedrock"), |input| {
        let messages = |pieces: &[&[u8]]| {
            let (mut decoder, mut messages) = (event_stream::Decoder::default(), Vec::new());
            let is_ok = pieces.iter().all(|piece| decoder.push(piece, &mut messages).is_ok());
            (is_ok, messages)
        };
        let (left, right) = input.split_at(cut(input));
        assert_eq!(messages(&[left, right]), messages(&[input]), "a split changes what is read");
    });
}

#[test]
fn multipart_form() {
    fuzz("multipart", &corpus::forms(), |input| {
        let content_type = Some("multipart/form-data; boundary=x");
        let Ok(form) = Form::read(content_type, input) else {
            return;
        };
        if form.text(input, "model").is_ok() {
            let changed = form.with_field(input, "model", "m-2");
            let again = Form::read(content_type, &changed).unwrap();
            assert_eq!(again.text(&changed, "model"), Ok(Some("m-2")), "the field was not set");
        }
    });
}

// === dialects ===

fn request(name: &str, dialect: ChatDialect) {
    fuzz(&format!("request_{name}"), &corpus::requests(name), |input| {
        let asked = Asked { model: "m", stream: false };
        let Ok(incoming) = read_request(dialect, asked, input) else {
            return;
        };
        assert!(validate(&incoming.as_chat).is_ok(), "what is priced is no JSON");
        for provider in ChatDialect::ALL {
            let target =
                RequestTarget { dialect: provider, model: "p\"\\", output_cap: Some(77), model_cap: None };
            for mode in [Mode::Refuse, Mode::Drop] {
                match write_request(&incoming.request, &target, mode) {
                    Ok(written) => {
                        assert!(validate(&written.body).is_ok(), "{provider:?}: no JSON was written");
                    }
                    Err(lacks) => assert_eq!(mode, Mode::Refuse, "{provider:?}: {lacks}"),
                }
            }
        }
        if dialect != ChatDialect::OpenAiChat {
            let target = RequestTarget { dialect, model: "p", output_cap: Some(77), model_cap: None };
            let passed = pass_request(input, &target).ok();
            // a misspelt name beside the right one is refused when it is read again: as the vendor does
            let again = passed.and_then(|passed| read_request(dialect, asked, &passed).ok());
            if let Some(again) = again {
                let cap = again.request.output_cap;
                assert_eq!(cap, Some(77), "the cap that was paid for is not the one that is sent");
            }
        }
    });
}

fn answer(name: &str, dialect: ChatDialect) {
    fuzz(&format!("answer_{name}"), &corpus::answers(name), |input| {
        let Ok(answer) = read_answer(dialect, input, "id", "model") else {
            return;
        };
        for client in CLIENTS {
            let echo = ResponseEcho::default();
            let context = AnswerContext { dialect: client, created: 9, echo: &echo, cost: Some(NanoUsd(3)) };
            let written = write_answer(&answer, &context);
            assert!(read_answer(client, &written, "", "").is_ok(), "{client:?} cannot read what was written");
        }
    });
}

fn stream(name: &str, dialect: ChatDialect) {
    fuzz(&format!("stream_{name}"), &corpus::streams(name), |input| {
        let steps = |pieces: &[&[u8]]| {
            let (mut reader, mut steps) = (StreamReader::new(dialect), Vec::new());
            let is_ok =
                pieces.iter().all(|piece| reader.push(Bytes::copy_from_slice(piece), &mut steps).is_ok());
            if is_ok {
                reader.end(&mut steps);
            }
            (is_ok, steps)
        };
        let (left, right) = input.split_at(cut(input));
        let whole: (bool, Vec<StreamEvent>) = steps(&[input]);
        assert_eq!(steps(&[left, right]), whole, "a split changes what is read");
        for client in CLIENTS {
            relayed(dialect, client, &[left, right]);
        }
    });
}

fn relayed(provider: ChatDialect, client: ChatDialect, pieces: &[&[u8]]) {
    let mut relay = TranslatingRelay::new(RelayContext {
        provider,
        client,
        created: 9,
        wants_usage: true,
        n_choices: 1,
        echo: ResponseEcho::default(),
        stand_in: ("id".to_owned(), "model".to_owned()),
    });
    let mut events = Vec::new();
    let is_ok = pieces.iter().all(|piece| relay.push(Bytes::copy_from_slice(piece), &mut events).is_ok());
    relay.finish(is_ok, &mut events);
    if provider != client {
        read_back(client, events);
    }
}

/// What was written is an event stream whose every event is JSON.
fn read_back(client: ChatDialect, events: Vec<RelayEvent>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for event in events {
        let bytes: Vec<Bytes> = match event {
            RelayEvent::Forward(bytes) => vec![bytes],
            RelayEvent::Usage { frame, .. } => frame.with_cost(NanoUsd(3)).into_iter().collect(),
            RelayEvent::ProviderError(_) => Vec::new(),
        };
        for bytes in bytes {
            decoder.push(bytes, &mut frames).unwrap();
        }
    }
    for data in frames.iter().filter_map(tollgate_wire::sse::Frame::data) {
        assert!(&*data == b"[DONE]" || validate(&data).is_ok(), "{client:?}: no JSON was written");
    }
}

#[test]
fn stream_passed_on() {
    fuzz("stream_passed", &corpus::streams("openai_chat"), |input| {
        let (left, right) = input.split_at(cut(input));
        let passed = |pieces: &[&[u8]]| {
            let options = StreamOptions { client_wants_usage: true, n_choices: 1 };
            let (mut relay, mut events) = (StreamRelay::new(Surface::Chat, options), Vec::new());
            let is_ok =
                pieces.iter().all(|piece| relay.push(Bytes::copy_from_slice(piece), &mut events).is_ok());
            let end = relay.finish(is_ok, &mut events);
            (is_ok, format!("{end:?}"), relay.usage(), relay.text_bytes())
        };
        assert_eq!(passed(&[left, right]), passed(&[input]), "a split changes what is counted");
    });
}

macro_rules! dialects {
    ($($test:ident = $run:ident($name:literal, $dialect:ident);)*) => {
        $(#[test] fn $test() { $run($name, ChatDialect::$dialect); })*
    };
}

dialects! {
    request_openai_chat = request("openai_chat", OpenAiChat);
    request_openai_responses = request("openai_responses", OpenAiResponses);
    request_anthropic = request("anthropic", Anthropic);
    request_gemini = request("gemini", Gemini);
    answer_openai_chat = answer("openai_chat", OpenAiChat);
    answer_openai_responses = answer("openai_responses", OpenAiResponses);
    answer_anthropic = answer("anthropic", Anthropic);
    answer_gemini = answer("gemini", Gemini);
    answer_bedrock = answer("bedrock", Bedrock);
    answer_cohere = answer("cohere", Cohere);
    stream_openai_chat = stream("openai_chat", OpenAiChat);
    stream_openai_responses = stream("openai_responses", OpenAiResponses);
    stream_anthropic = stream("anthropic", Anthropic);
    stream_gemini = stream("gemini", Gemini);
    stream_bedrock = stream("bedrock", Bedrock);
    stream_cohere = stream("cohere", Cohere);
}
