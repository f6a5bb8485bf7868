//! Streams between every client's and every provider's dialect that must end before their providers do; what is held
//! back before their content; counts that cannot be right.

use serde_json::{Value, json};
use tollgate_domain::{ErrorKind, NanoUsd, RequestOutcome, SettlementBasis};
use tollgate_policy::Dialect;
use tollgate_testkit::http::Answer;
use tollgate_testkit::mock_provider::{Gate, Script};
use tollgate_wire::neutral::{Assembler, ChatAnswer, ChatDialect, FinishReason, PartKind, StreamEvent};
use tollgate_wire::translate::StreamReader;

use crate::harness::{INPUT_PRICE, OUTPUT_PRICE, Pod, Setup, hello, streamed};

const PROVIDERS: [Dialect; 4] = [Dialect::Openai, Dialect::Anthropic, Dialect::Gemini, Dialect::Cohere];
const CLIENTS: [ChatDialect; 4] =
    [ChatDialect::OpenAiChat, ChatDialect::OpenAiResponses, ChatDialect::Anthropic, ChatDialect::Gemini];
/// Bytes of one piece of text.
const PIECE: &str = "words ";
const CAP: u64 = 4_000;

fn frame(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message"))
}

/// What comes before the text, one piece of it, and the end with these counts.
type Said = (Vec<Value>, Value, fn(u64, u64) -> Vec<Value>);

fn frames_of(dialect: Dialect) -> Said {
    match dialect {
        Dialect::Anthropic => (
            vec![
                json!({"type": "message_start", "message": {"id": "r1", "model": "m-1", "usage": {"input_tokens": 6, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            ],
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": PIECE}}),
            |input, output| {
                vec![
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": input, "output_tokens": output}}),
                    json!({"type": "message_stop"}),
                ]
            },
        ),
        Dialect::Gemini => (
            Vec::new(),
            json!({"candidates": [{"content": {"parts": [{"text": PIECE}]}}], "modelVersion": "m-1", "responseId": "r1"}),
            |input, output| {
                vec![json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output}})]
            },
        ),
        Dialect::Cohere => (
            vec![
                json!({"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant"}}}),
                json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
            ],
            json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": PIECE}}}}),
            |input, output| {
                vec![
                    json!({"type": "content-end", "index": 0}),
                    json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": input, "output_tokens": output}}}}),
                ]
            },
        ),
        _ => {
            let head = json!({"id": "r1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"});
            let chunk = move |choices: Value| {
                let mut chunk = head.clone();
                chunk["choices"] = choices;
                chunk
            };
            (
                vec![chunk(
                    json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]),
                )],
                chunk(json!([{"index": 0, "delta": {"content": PIECE}, "finish_reason": null}])),
                |input, output| {
                    vec![
                        json!({"id": "r1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
                        json!({"id": "r1", "choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}}),
                    ]
                },
            )
        }
    }
}

fn says(dialect: Dialect, n_pieces: usize, (input, output): (u64, u64)) -> Script {
    let (start, piece, end) = frames_of(dialect);
    let pieces = std::iter::repeat_n(piece, n_pieces);
    let events: Vec<Value> = start.into_iter().chain(pieces).chain(end(input, output)).collect();
    let mut frames: Vec<String> = events.iter().map(frame).collect();
    if dialect == Dialect::Openai {
        frames.push("data: [DONE]\n\n".to_owned());
    }
    Script::new().sse_frames(frames)
}

async fn ask(pod: &Pod, client: ChatDialect, cap: u64) -> Answer {
    let (path, body) = match client {
        ChatDialect::OpenAiResponses => (
            "/v1/responses",
            json!({"model": "one", "input": "hello there", "max_output_tokens": cap, "stream": true}),
        ),
        ChatDialect::Anthropic => (
            "/v1/messages",
            json!({"model": "one", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": cap, "stream": true}),
        ),
        ChatDialect::Gemini => (
            "/v1beta/models/one:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}], "generationConfig": {"maxOutputTokens": cap}}),
        ),
        _ => {
            let mut body = streamed("one");
            body["max_tokens"] = json!(cap);
            ("/v1/chat/completions", body)
        }
    };
    pod.http.post_json(&pod.url(path), &body).await.unwrap().expect_status(200).unwrap()
}

/// What the client reads, and whether its stream ended as its dialect's streams end.
fn read(client: ChatDialect, answer: &Answer) -> (ChatAnswer, String) {
    let mut reader = StreamReader::new(client);
    let mut steps = Vec::new();
    reader.push(answer.body.clone(), &mut steps).unwrap();
    reader.end(&mut steps);
    assert_eq!(steps.last(), Some(&StreamEvent::End), "{client:?}: {}", answer.text());
    let mut whole = Assembler::default();
    steps.iter().for_each(|step| whole.event(step));
    let whole = whole.finish();
    let text = whole.choices[0].parts.iter().map(|part| match &part.kind {
        PartKind::Text { text, .. } => text.as_str(),
        _ => "",
    });
    let text = text.collect();
    (whole, text)
}

fn sliced(dialect: Dialect) -> Setup {
    Setup { dialect, hold_slice_tokens: Some(256), ..Setup::default() }
}

#[tokio::test]
async fn every_stream_is_held_for_in_slices_and_ends_where_the_money_does() {
    for (provider, client) in PROVIDERS.into_iter().flat_map(|one| CLIENTS.map(|client| (one, client))) {
        let name = format!("{provider:?} to {client:?}");
        let pod = Pod::start(sliced(provider)).await;
        pod.mock.push(says(provider, 300, (6, 300)));
        let (whole, text) = read(client, &ask(&pod, client, CAP).await);
        assert_eq!((whole.choices[0].finish, text.len()), (FinishReason::Stop, 1_800), "{name}");
        let event = pod.next_event().await;
        assert_eq!((event.outcome, event.basis), (RequestOutcome::Ok, SettlementBasis::Provider), "{name}");
        assert_eq!(event.cost, NanoUsd(6 * INPUT_PRICE + 300 * OUTPUT_PRICE), "{name}");
        let bound = NanoUsd(i64::try_from(CAP).unwrap() * OUTPUT_PRICE);
        assert!(event.held < bound && event.cost <= event.held, "{name}: {} held", event.held);

        let limit = NanoUsd(1_500 * OUTPUT_PRICE);
        let pod = Pod::start(Setup { budget: Some(limit), ..sliced(provider) }).await;
        let gate = Gate::new();
        pod.mock.push(says(provider, 2_000, (6, 2_000)).hold_after_chunks(1_500, &gate));
        let answer = ask(&pod, client, CAP).await;
        pod.mock.wait_for_disconnects(1).await.unwrap();
        let (whole, text) = read(client, &answer);
        assert_eq!(whole.choices[0].finish, FinishReason::Length, "{name}: {}", answer.text());
        assert!((500..1_500).contains(&text.len()), "{name}: {} bytes", text.len());
        let code = if client == ChatDialect::Gemini { "a budget is used up" } else { "budget_exceeded" };
        assert!(answer.text().contains(code), "{name}: {}", answer.text());
        let event = pod.next_event().await;
        assert_eq!(event.outcome, RequestOutcome::Error(ErrorKind::BudgetExceeded), "{name}");
        assert!(event.cost <= event.held && event.held <= limit, "{name}");
        pod.wait_until_nothing_is_held().await;
        assert_eq!(pod.spent_and_held().await, (event.cost, NanoUsd::ZERO), "{name}");
    }
}

#[tokio::test]
async fn a_provider_that_ignores_the_cap_is_stopped() {
    for (provider, client) in PROVIDERS.into_iter().flat_map(|one| CLIENTS.map(|client| (one, client))) {
        let name = format!("{provider:?} to {client:?}");
        let pod = Pod::start(Setup { dialect: provider, ..Setup::default() }).await;
        let gate = Gate::new();
        pod.mock.push(says(provider, 2_000, (6, 2_000)).hold_after_chunks(1_000, &gate));
        let answer = ask(&pod, client, 100).await;
        pod.mock.wait_for_disconnects(1).await.unwrap();
        let (whole, text) = read(client, &answer);
        assert_eq!(whole.choices[0].finish, FinishReason::Length, "{name}: {}", answer.text());
        assert!((2_000..=6_000).contains(&text.len()), "{name}: {} bytes", text.len());
        let event = pod.next_event().await;
        assert_eq!((event.outcome, event.basis), (RequestOutcome::Ok, SettlementBasis::Counted), "{name}");
        assert_eq!(event.cost, event.held, "{name}: no more than was held");
        let counted = "tollgate_upstream_caps_ignored_total{provider=\"mock\"} 1";
        assert!(pod.metrics.encode().contains(counted), "{name}");
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn until_there_is_content_another_provider_may_answer() {
    let anthropic = |last: Value| {
        let (mut start, ..) = frames_of(Dialect::Anthropic);
        start.extend([json!({"type": "ping"}), last]);
        Script::new().sse_frames(start.iter().map(frame).collect::<Vec<_>>())
    };
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let (role_only, ..) = frames_of(Dialect::Openai);
    let openai = |last: &str| Script::new().sse_frames(vec![frame(&role_only[0]), last.to_owned()]);
    let cases = [
        ("an error after the start", Dialect::Anthropic, anthropic(overloaded.clone())),
        ("an end after the start", Dialect::Anthropic, anthropic(json!({"type": "ping"}))),
        ("an error after the role", Dialect::Openai, openai("data: {\"error\":{\"message\":\"no\"}}\n\n")),
        ("garbage after the role", Dialect::Openai, openai("data: {\"choices\":[{\"del\n\n")),
        ("garbage at first", Dialect::Openai, Script::new().sse_frames(vec!["data: <html>\n\n".to_owned()])),
        ("garbage at first", Dialect::Gemini, Script::new().sse_frames(vec!["data: <html>\n\n".to_owned()])),
    ];
    for (name, dialect, script) in cases {
        let pod = Pod::start(Setup { dialect, ..Setup::default() }).await;
        pod.mock.push(script);
        let mut stream = pod.stream(&streamed("both")).await;
        assert_eq!(stream.header("x-tollgate-provider"), Some("second"), "{dialect:?}: {name}");
        let data = stream.collect_data().await.unwrap();
        assert_eq!(data.last().map(String::as_str), Some("[DONE]"), "{dialect:?}: {name}");
        assert!(data.iter().all(|data| !data.contains("error") && !data.contains("html")), "{data:?}");
    }
}

#[tokio::test]
async fn counts_that_cannot_be_right_are_counted_instead() {
    let told = [("zero", (0, 0)), ("no answer", (6, 0)), ("no prompt", (0, 200)), ("absurd", (6, 900_000))];
    for (provider, (name, told)) in PROVIDERS.into_iter().flat_map(|one| told.map(|told| (one, told))) {
        let name = format!("{name} of {provider:?}");
        let pod = Pod::start(Setup { dialect: provider, ..Setup::default() }).await;
        pod.mock.push(says(provider, 200, told));
        let (_, text) = read(ChatDialect::OpenAiChat, &ask(&pod, ChatDialect::OpenAiChat, 1_000).await);
        assert_eq!(text.len(), 1_200, "{name}");
        let event = pod.next_event().await;
        assert_eq!((event.outcome, event.basis), (RequestOutcome::Ok, SettlementBasis::Counted), "{name}");
        let (input, output) = (event.usage.input_tokens(), event.usage.output_tokens());
        assert!(input >= 2 && (200..=300).contains(&output), "{name}: {:?}", event.usage);
        let (input, output) = (i64::try_from(input).unwrap(), i64::try_from(output).unwrap());
        assert_eq!(event.cost, NanoUsd(input * INPUT_PRICE + output * OUTPUT_PRICE), "{name}");
    }
    let pod = Pod::start(Setup::default()).await;
    let nothing = json!({"prompt_tokens": null, "completion_tokens": null, "total_tokens": null});
    for usage in [json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), nothing] {
        pod.mock.push(Script::new().text("one two three four").usage_json(usage.clone()));
        pod.chat(&hello("one")).await.expect_status(200).unwrap();
        let event = pod.next_event().await;
        assert_eq!(event.basis, SettlementBasis::Counted, "{usage}");
        assert!(event.usage.input_tokens() > 0 && event.usage.output_tokens() >= 4, "{:?}", event.usage);
    }
}
