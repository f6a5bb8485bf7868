use tollgate_wire::openai::stream::{StreamOptions, StreamRelay};

use super::*;

fn deltas(text: &str) -> Vec<RelayEvent> {
    let frame = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    vec![RelayEvent::Forward(Bytes::from(frame))]
}

fn relay() -> AnyRelay {
    let options = StreamOptions { client_wants_usage: false, n_choices: 1 };
    AnyRelay::OpenAi(StreamRelay::new(tollgate_domain::Surface::Chat, options))
}

#[test]
fn text_is_bounded_by_its_bytes_until_it_is_counted() {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(40);
    let n_bytes = text.len() as u64;
    let mut meter = SliceMeter { encoding: Some(Encoding::O200k), ..SliceMeter::default() };
    meter.note(&mut relay(), &deltas(&text), None);
    assert_eq!(meter.tokens(n_bytes), n_bytes);
    // ten bytes that are no text here keep standing for themselves
    meter.count(n_bytes + 10);
    let counted = meter.tokens(n_bytes + 10);
    assert_eq!(counted, Encoding::O200k.count(&text) + TOKENS_PER_COUNT + 10);
    assert!(counted < n_bytes / 3);
    meter.note(&mut relay(), &deltas("short"), None);
    meter.count(n_bytes + 15);
    assert_eq!(meter.tokens(n_bytes + 15), counted + 5, "too little to be worth a count");
}

#[test]
fn without_a_public_tokenizer_bytes_stay_bytes() {
    let mut meter = SliceMeter::default();
    meter.note(&mut relay(), &deltas(&"word ".repeat(200)), None);
    meter.count(1_000);
    assert_eq!((meter.tokens(1_000), meter.text.len()), (1_000, 0));
}
