use super::*;

fn full(size: Option<(u32, u32)>) -> ImagePart {
    ImagePart { detail: ImageDetail::Full, size }
}

#[test]
fn the_tables_name_their_models_only() {
    let tiles = |base, tile| Some(ImageRates::Tiles { base, tile });
    let patches = |hundredths| Some(ImageRates::Patches { hundredths });
    let cases = [
        ("gpt-4o", tiles(85, 170)),
        ("gpt-4o-2024-11-20", tiles(85, 170)),
        ("openai/gpt-4o", tiles(85, 170)),
        ("gpt-4o-mini", tiles(2_833, 5_667)),
        ("gpt-4o-mini-2024-07-18", tiles(2_833, 5_667)),
        ("gpt-5", tiles(70, 140)),
        ("o3", tiles(75, 150)),
        ("gpt-5-nano", patches(246)),
        ("o4-mini-2025-04-16", patches(172)),
        ("gpt-4o-audio-preview", None),
        ("gpt-4o-2024", None),
        ("gpt-5.2", None),
        ("o3-pro", None),
        ("claude-sonnet-4-5", None),
        ("", None),
    ];
    for (model, expected) in cases {
        assert_eq!(image_rates(model), expected, "{model}");
    }
}

#[test]
fn tokens_are_those_of_the_published_examples_and_never_above_the_bound() {
    let rates = |model| image_rates(model).unwrap();
    let cases = [
        ("gpt-4o", Some((1_024, 1_024)), 765),
        ("gpt-4o", Some((2_048, 4_096)), 1_105),
        ("gpt-4o", Some((128, 64)), 255),
        ("gpt-4o", Some((512, 512)), 255),
        ("gpt-4o", Some((513, 512)), 425),
        ("gpt-4o", Some((1, 100_000)), 765),
        ("gpt-4o", None, 1_445),
        ("gpt-4o-mini", Some((1_024, 1_024)), 25_501),
        ("gpt-4o-mini", None, IMAGE_TOKENS_BOUND),
        ("gpt-5", None, 1_190),
        ("gpt-4.1-mini", Some((1_024, 1_024)), 1_659),
        ("gpt-4.1-mini", Some((4_000, 1_474)), 2_489),
        ("gpt-5-nano", None, 3_779),
    ];
    for (model, size, expected) in cases {
        assert_eq!(rates(model).tokens(full(size)), expected, "{model} {size:?}");
    }
    let low = ImagePart { detail: ImageDetail::Low, size: Some((4_000, 4_000)) };
    assert_eq!(rates("gpt-4o").tokens(low), 85);
    for (model, rates) in TABLE {
        for size in [None, Some((u32::MAX, u32::MAX)), Some((u32::MAX, 1)), Some((769, 2_049))] {
            let tokens = rates.tokens(full(size));
            assert!(tokens <= rates.tokens(full(None)) && tokens <= IMAGE_TOKENS_BOUND, "{model} {size:?}");
        }
    }
}

proptest::proptest! {
    /// However the provider rounds while it scales: floor, ceiling and nearest never cut more tiles.
    #[test]
    fn tiles_bound_every_way_of_rounding(width in 1_u32..20_000, height in 1_u32..20_000) {
        let exact = |round: fn(f64) -> f64| {
            let (mut w, mut h) = (f64::from(width), f64::from(height));
            if w.max(h) > 2_048.0 {
                let scale = 2_048.0 / w.max(h);
                (w, h) = (round(w * scale).max(1.0), round(h * scale).max(1.0));
            }
            if w.min(h) > 768.0 {
                let scale = 768.0 / w.min(h);
                (w, h) = (round(w * scale).max(1.0), round(h * scale).max(1.0));
            }
            (w / 512.0).ceil() * (h / 512.0).ceil()
        };
        for round in [f64::floor, f64::round, f64::ceil] {
            proptest::prop_assert!(n_tiles((width, height)) as f64 >= exact(round).min(8.0));
        }
    }
}

#[test]
fn sizes_are_read_from_png_and_jpeg() {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend(800_u32.to_be_bytes());
    png.extend(600_u32.to_be_bytes());
    png.extend([8, 6, 0, 0, 0, 1, 2, 3, 4]);
    // an application segment with another picture's header inside, then the real frame header
    let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe1, 0, 12, 0xff, 0xc0, 0, 11, 8, 0, 1, 0, 1, 3];
    jpeg.extend([0xff, 0xff, 0xdb, 0, 3, 0, 0xff, 0xc2, 0, 11, 8, 2, 0x58, 3, 0x20, 3, 1, 0x22]);
    jpeg.resize(200, 0);
    let url = |bytes: &[u8]| format!("data:image/x;base64,{}", STANDARD.encode(bytes));
    let cases = [
        (url(&png), Some((800, 600))),
        (url(&jpeg), Some((800, 600))),
        (url(&png[..20]), None),
        (url(&jpeg[..20]), None),
        (url(b"GIF89a\x20\x03\x58\x02000000"), None),
        (url(&[0xff, 0xd8, 0xff, 0xda, 0, 0, 0, 0, 0, 0]), None),
        ("data:image/png,abc".to_owned(), None),
        ("data:image/png;base64".to_owned(), None),
        ("data:image/png;base64,".to_owned(), None),
        ("data:image/png;base64,!!!!".to_owned(), None),
        ("https://example.com/a,b".to_owned(), None),
    ];
    for (url, expected) in cases {
        assert_eq!(size_of_data_url(url.as_bytes()), expected, "{url}");
    }
}
