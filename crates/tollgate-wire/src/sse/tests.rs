use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn decode(chunks: &[&[u8]]) -> (Vec<Frame>, Bytes) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk), &mut frames).unwrap();
    }
    (frames, decoder.take_rest())
}

fn data_of(stream: &[u8]) -> Vec<Option<String>> {
    let (frames, _) = decode(&[stream]);
    frames
        .iter()
        .map(|frame| frame.data().map(|data| String::from_utf8(data.into_owned()).unwrap()))
        .collect()
}

#[test]
fn frames_as_the_standard_says() {
    let some = |text: &str| Some(text.to_owned());
    let cases: &[(&[u8], Vec<Option<String>>)] = &[
        (b"data: a\n\n", vec![some("a")]),
        (b"data:a\n\ndata:  b\n\n", vec![some("a"), some(" b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", vec![some("a"), some("b")]),
        (b"data: a\r\rdata: b\r\r", vec![some("a")]),
        (b"data: a\r\rdata: b\r\r\n", vec![some("a"), some("b")]),
        (b"data: a\ndata: b\r\ndata:\rdata: c\n\n", vec![some("a\nb\n\nc")]),
        (b"data\n\n", vec![some("")]),
        (b": hello\n\ndata: a\n\n", vec![None, some("a")]),
        (b": hello\ndata: a\n\n", vec![some("a")]),
        (b"event: x\nid: 5\nretry: 1\ndata: a\ndatum: no\n\n", vec![some("a")]),
        (b"\xef\xbb\xbfdata: a\n\n", vec![some("a")]),
        (b"\n\n\ndata: a\n\n", vec![None, None, None, some("a")]),
        (b"data: a\n", vec![]),
        (b"", vec![]),
    ];
    for (stream, expected) in cases {
        assert_eq!(data_of(stream), *expected, "{}", String::from_utf8_lossy(stream));
    }
    let (frames, _) = decode(&[b"event: error\ndata: x\n\nevent\ndata: y\n\n"]);
    assert_eq!((frames[0].event(), frames[1].event()), (Some(&b"error"[..]), None));
}

#[test]
fn frames_inside_a_chunk_are_not_copied() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
    let mut frames = Vec::new();
    Decoder::new().push(chunk.clone(), &mut frames).unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].raw.as_ptr(), chunk[9..].as_ptr());
}

#[test]
fn events_are_bounded_however_they_come() {
    let event = |n: usize| [b"data: ".as_slice(), &vec![b'x'; n - 8], b"\n\n"].concat();
    for chunk_bytes in [usize::MAX, 1024, 65_521] {
        let push_all = |stream: &[u8]| {
            let mut decoder = Decoder::new();
            let mut frames = Vec::new();
            stream
                .chunks(chunk_bytes.min(stream.len()))
                .try_for_each(|chunk| decoder.push(Bytes::copy_from_slice(chunk), &mut frames))
                .map(|()| frames.len())
        };
        assert_eq!(push_all(&event(MAX_EVENT_BYTES)), Ok(1));
        assert_eq!(push_all(&event(MAX_EVENT_BYTES + 1)), Err(SseError::EventTooLarge));
        assert_eq!(push_all(&[event(MAX_EVENT_BYTES), event(MAX_EVENT_BYTES)].concat()), Ok(2));
    }
}

#[test]
fn written_events_read_back_and_have_no_foreign_line_ends() {
    let json = "{\"a\":\"x\u{2028}y\u{2029}z\u{85}ü\",\r\n \"b\":1}";
    let event = data_event(json.as_bytes());
    let text = std::str::from_utf8(&event).unwrap();
    assert_eq!(text, "data: {\"a\":\"x\\u2028y\\u2029z\\u0085ü\",   \"b\":1}\n\n");
    let data = data_of(&event).remove(0).unwrap();
    let (read, meant): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&data).unwrap(), serde_json::from_str(json).unwrap());
    assert_eq!(read, meant);
    assert_eq!(named_event("error", b"{}").as_ref(), b"event: error\ndata: {}\n\n");
    assert_eq!(comment("a\nb").as_ref(), b": a b\n\n");
    assert_eq!(data_event(b"").as_ref(), b"data: \n\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn any_split_gives_the_same_frames(
        stream in prop::collection::vec(prop::sample::select(&b"\r\n\r\n:d a"[..]), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let whole = decode(&[&stream]);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.sort_unstable();
        let mut chunks = Vec::new();
        let mut start = 0;
        for cut in at {
            chunks.push(&stream[start..cut]);
            start = cut;
        }
        chunks.push(&stream[start..]);
        prop_assert_eq!(&decode(&chunks), &whole);
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&decode(&bytewise), &whole);
        // Nothing is lost or made up.
        let mut joined: Vec<u8> = whole.0.iter().flat_map(|frame| frame.raw.to_vec()).collect();
        joined.extend_from_slice(&whole.1);
        prop_assert_eq!(joined, stream);
    }
}
