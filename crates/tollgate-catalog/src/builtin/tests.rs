//! Tests of [`super`]: the embedded data as a whole, and single facts of it.

use std::collections::BTreeSet;

use super::*;
use crate::sanity::check_catalog;
use crate::{Capability, Modality, Needs, PriceSheet, Reach, ServiceTier, Tokenizer};
use tollgate_domain::{Meter, Usage};

/// The day the data was put together; a model retired by then has no place in it.
const AS_OF: &str = "2026-11-22";

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

#[test]
fn the_embedded_catalogue_is_large_and_says_where_it_comes_from() {
    let catalog = catalog();
    let (mut n_models, mut n_vendors) = (0, 0);
    for vendor in catalog.vendors().iter().filter(|vendor| vendor.dialect != "demo") {
        let models = vendor.models();
        assert!(!models.is_empty(), "{}", vendor.name);
        for model in &models {
            assert!(model.source.starts_with("https://"), "{}/{}", vendor.name, model.name);
            assert!(model.as_of >= "2026-01-01" && model.as_of <= AS_OF, "{}/{}", vendor.name, model.name);
        }
        n_models += models.len();
        n_vendors += 1;
    }
    assert!(n_models >= 300, "{n_models} models");
    assert!(n_vendors >= 20, "{n_vendors} vendors");
    assert!(catalog.vendor("demo").unwrap().model("demo-chat").is_some());
}

#[test]
fn every_file_of_models_belongs_to_a_vendor() {
    let catalog = catalog();
    for (name, _) in MODEL_FILES {
        assert!(catalog.vendor(name).is_some(), "{name}");
    }
    assert_eq!(catalog.vendors().len(), MODEL_FILES.len());
}

#[test]
fn the_embedded_catalogue_is_within_the_bounds_of_sanity() {
    // Not even a warning: whoever adds what a vendor's list really has explains it here.
    assert_eq!(check_catalog(&catalog(), AS_OF), []);
}

#[test]
fn whatever_the_gateway_relays_is_priced() {
    for vendor in catalog().vendors() {
        for model in vendor.models() {
            let serves = |surface| model.surfaces.contains(&surface);
            let needs = match () {
                () if serves("chat") || serves("completions") || serves("responses") => Needs::InputAndOutput,
                () if serves("embeddings") => Needs::InputOnly,
                () => continue,
            };
            let rows = model.price_rows(&vendor.name);
            let sheet = PriceSheet::from_rows(&rows);
            let checked = sheet.check(ServiceTier::Standard, needs);
            assert_eq!(checked, Ok(()), "{}/{}", vendor.name, model.name);
        }
    }
}

#[test]
fn longer_prompts_cost_what_their_band_says() {
    let catalog = catalog();
    let model = catalog.vendor("gemini").unwrap().model("gemini-2.5-pro").unwrap();
    let rows = model.price_rows("gemini");
    let sheet = PriceSheet::from_rows(&rows);
    for (n_tokens, nano_usd) in [(200_000, 250_000_000), (200_001, 500_002_500)] {
        let usage = Usage::ZERO.with(Meter::Input, n_tokens);
        assert_eq!(sheet.cost(&usage, ServiceTier::Standard).total.0, nano_usd, "{n_tokens}");
    }
}

#[test]
fn facts_of_one_model_are_read() {
    let catalog = catalog();
    let openai = catalog.vendor("openai").unwrap();
    let model = openai.model("gpt-5.4-2026-03-05").unwrap();
    assert_eq!((model.name, model.context_tokens, model.max_output_tokens), ("gpt-5.4", 1_050_000, 128_000));
    assert_eq!(model.tokenizer, Some(Tokenizer::O200k));
    assert!(model.capabilities.contains(&Capability::Tools) && model.input.contains(&Modality::Image));
    let sheet = PriceSheet::from_rows(&model.price_rows("openai"));
    let usage = Usage::ZERO.with(Meter::Input, 1_000_000).with(Meter::Output, 1_000_000);
    for (tier, nano_usd) in [
        (ServiceTier::Standard, 27_500_000_000),
        (ServiceTier::Flex, 13_750_000_000),
        (ServiceTier::Batch, 13_750_000_000),
    ] {
        assert_eq!(sheet.cost(&usage, tier).total.0, nano_usd, "{tier:?}");
    }
    assert_eq!(openai.model("text-embedding-3-small").unwrap().tokenizer, Some(Tokenizer::Cl100k));
    assert_eq!(catalog.vendor("anthropic").unwrap().model("claude-opus-5").unwrap().tokenizer, None);
}

#[test]
fn vendors_are_reached_by_their_own_key_and_host() {
    let catalog = catalog();
    let mut seen = BTreeSet::new();
    for vendor in catalog.vendors().iter().filter(|vendor| vendor.dialect != "demo" && !vendor.is_cloud()) {
        let variable = vendor.key_variable.as_deref().unwrap();
        let is_a_key = variable.ends_with("_API_KEY") || variable.ends_with("_SECRET_KEY");
        assert!(is_a_key && seen.insert(variable), "{variable}");
        assert!(
            vendor.base_url.starts_with("https://") && !vendor.base_url.ends_with('/'),
            "{}",
            vendor.name
        );
        assert_eq!(catalog.vendor_of_provider("mine", Some(&vendor.base_url)), Some(vendor));
    }
    for name in ["OPENAI", "ANTHROPIC", "GEMINI", "GROQ", "MISTRAL", "DEEPSEEK", "XAI", "OPENROUTER"] {
        assert!(seen.contains(format!("{name}_API_KEY").as_str()), "{name}");
    }
}

#[test]
fn quirks_are_data_with_sources() {
    let catalog = catalog();
    let compatible = catalog.vendors().iter().filter(|vendor| vendor.dialect == "openai");
    assert!(compatible.clone().count() >= 25);
    for vendor in catalog.vendors() {
        let quirks = &vendor.quirks;
        assert_eq!(vendor.dialect == "openai", !quirks.sources.is_empty(), "{}", vendor.name);
        for source in &quirks.sources {
            let is_a_day = source.as_of.len() == 10 && source.as_of.as_str() >= "2026-01-01";
            assert!(source.url.starts_with("https://") && is_a_day, "{}: {source:?}", vendor.name);
        }
        assert!(quirks.refused.iter().all(|name| !quirks.renamed.contains_key(name)), "{}", vendor.name);
    }
    assert!(!catalog.vendor("mistral").unwrap().quirks.takes_stream_options);
    assert_eq!(catalog.vendor("mistral").unwrap().quirks.renamed["seed"], "random_seed");
}

/// The fields of a vendor's quirks, as they stand in the file.
fn facts_of(vendor: &str) -> BTreeSet<String> {
    let vendors: Vec<serde_json::Value> = serde_json::from_str(super::VENDORS).unwrap();
    let found = vendors.into_iter().find(|one| one["name"] == vendor).unwrap();
    let quirks = found.get("quirks").and_then(|quirks| quirks.as_object().cloned()).unwrap_or_default();
    quirks.into_iter().map(|(name, _)| name).filter(|name| name != "sources").collect()
}

#[test]
fn every_fact_about_a_vendor_names_the_page_it_stands_on() {
    for vendor in catalog().vendors() {
        let facts = facts_of(&vendor.name);
        let told: BTreeSet<String> =
            vendor.quirks.sources.iter().flat_map(|source| source.facts.iter().cloned()).collect();
        assert_eq!(facts, told, "{}", vendor.name);
    }
}

#[test]
fn vendors_of_chat_completions_say_how_their_cap_is_called() {
    let catalog = catalog();
    let of = |name: &str| catalog.vendor(name).unwrap().quirks.output_cap;
    let unknown = |vendor: &&crate::CatalogVendor| {
        let chats = vendor.models().iter().any(|model| model.surfaces.contains(&"chat"));
        vendor.dialect == "openai" && chats && vendor.quirks.output_cap.is_none()
    };
    let unknown: Vec<&str> =
        catalog.vendors().iter().filter(unknown).map(|vendor| vendor.name.as_str()).collect();
    assert_eq!(unknown, ["inception"], "no public page tells it");
    assert_eq!(of("openai"), Some(crate::OutputCapName::MaxCompletionTokens));
    assert_eq!(of("openrouter"), Some(crate::OutputCapName::MaxTokens));
}

#[test]
fn who_serves_responses_is_data_with_sources() {
    let catalog = catalog();
    let serving = catalog.vendors().iter().filter_map(|vendor| Some((vendor, vendor.responses.as_ref()?)));
    for (vendor, responses) in serving.clone() {
        assert_eq!(vendor.dialect, "openai", "{}", vendor.name);
        assert!(!responses.sources.is_empty(), "{}", vendor.name);
        assert!(responses.sources.iter().all(|source| source.starts_with("https://")), "{}", vendor.name);
    }
    let names: Vec<&str> = serving.map(|(vendor, _)| vendor.name.as_str()).collect();
    assert_eq!(names, ["openai", "groq", "xai", "openrouter", "fireworks"]);
    let of = |name: &str| catalog.vendor(name).unwrap().responses.clone().unwrap();
    let cases: [(&str, Option<&[&str]>, bool); 6] = [
        ("openai", Some(&["chat", "responses"]), true),
        ("openai", Some(&["chat"]), false),
        ("openai", None, true),
        ("groq", Some(&["chat"]), true),
        ("groq", Some(&["transcriptions"]), false),
        ("xai", Some(&["responses"]), true),
    ];
    for (vendor, surfaces, expected) in cases {
        assert_eq!(of(vendor).covers(surfaces), expected, "{vendor}, {surfaces:?}");
    }
}

#[test]
fn providers_find_their_vendor_by_host_then_by_name() {
    let catalog = catalog();
    let of = |name, url| catalog.vendor_of_provider(name, url).map(|vendor| vendor.name.as_str());
    assert_eq!(of("mine", Some("https://api.openai.com/v1")), Some("openai"));
    assert_eq!(of("openai", Some("http://127.0.0.1:9/v1")), Some("openai"));
    assert_eq!(of("mine", Some("http://127.0.0.1:9/v1")), None);
}

#[test]
fn clouds_are_found_by_their_dialect() {
    let catalog = catalog();
    let input = |cloud: &str, model: &str| {
        let model = catalog.cloud(cloud).unwrap().model(model).unwrap();
        model.prices.get(Meter::Input).unwrap().to_string()
    };
    // where the data stays in a region it costs a tenth more, and so does an id without one
    assert_eq!(input("bedrock", "global.anthropic.claude-sonnet-5"), "2");
    assert_eq!(input("bedrock", "eu.anthropic.claude-sonnet-5"), "2.2");
    assert_eq!(input("bedrock", "anthropic.claude-sonnet-5"), "2.2");
    assert_eq!(input("bedrock", "meta.llama4-scout-17b-instruct-v1:0"), "0.17");
    assert_eq!(input("vertex", "claude-opus-5-5@default"), "4.4");
    assert_eq!(input("vertex", "gemini-embedding-001"), "0.15");
    assert!(catalog.cloud("openai").is_none());
}

#[test]
fn a_catalogue_that_is_none_is_refused() {
    let with_models = |models: &str| {
        let text = format!(r#"[{{"name":"v","dialect":"openai","base_url":"https://v","models":{models}}}]"#);
        Catalog::from_json(&text).map(drop).map_err(|error| error.to_string())
    };
    let with_price = |meter: &str, price: &str| {
        with_models(&format!(
            r#"[{{"name":"m","surfaces":["chat"],"context_tokens":1,"prices":{{"{meter}":"{price}"}},"source":"s","as_of":"2026-11-22"}}]"#
        ))
    };
    assert_eq!(with_models("[]"), Ok(()));
    assert_eq!(with_price("input", "0.25"), Ok(()));
    let cases = [
        (with_price("input", "-1"), "the catalogue's models of v are not valid: `-1` is negative"),
        (with_price("input", "0.0000000001"), "is finer than"),
        (with_price("inputs", "1"), "unknown variant `inputs`"),
        (with_models(r#"[{"name":"m"}]"#), "missing field"),
        (with_models("{}"), "invalid type: map, expected a sequence"),
        (
            Catalog::from_json(r#"[{"name":"v","dialect":"openai","base_url":""}]"#)
                .map(drop)
                .map_err(|error| error.to_string()),
            "the catalogue has no models of v",
        ),
    ];
    for (refusal, expected) in cases {
        let message = refusal.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    /// Splits `total` at random over the meters.
    fn split(&mut self, mut total: u64, meters: &[Meter], mut usage: Usage) -> Usage {
        for meter in meters {
            let part = self.below(total + 1);
            usage.set(*meter, part);
            total -= part;
        }
        usage
    }
}

/// How many usages of each model and class are tried; one run takes about a second.
const N_USAGES: u64 = 20;

#[test]
fn no_usage_within_its_bounds_costs_more_than_the_upper_bound() {
    let mut numbers = Numbers(20_261_122);
    let mut n_tried = 0_u64;
    for vendor in catalog().vendors() {
        for model in vendor.models() {
            let sheet = PriceSheet::from_rows(&model.price_rows(&vendor.name));
            for tier in ServiceTier::ALL {
                if sheet.check(tier, Needs::InputAndOutput).is_err() {
                    continue;
                }
                for _ in 0..N_USAGES {
                    let input_bound = numbers.below(model.context_tokens.max(1)) + 1;
                    let output_cap = numbers.below(model.max_output_tokens.max(1)) + 1;
                    let bound = sheet.upper_bound(input_bound, output_cap, tier, Reach::MULTIMODAL);
                    let usage = Usage::ZERO.with(Meter::Request, 1);
                    let n_in = numbers.below(input_bound + 1);
                    let usage = numbers.split(n_in, Reach::MULTIMODAL.input, usage);
                    let usage = numbers.split(output_cap, Reach::MULTIMODAL.output, usage);
                    for served in [tier, ServiceTier::Standard] {
                        let cost = sheet.cost(&usage, served).total;
                        let name = (&vendor.name, model.name, tier, served);
                        assert!(cost <= bound, "{name:?}: {cost} > {bound} for {usage:?}");
                    }
                    n_tried += 1;
                }
            }
        }
    }
    assert!(n_tried > 1_000 * N_USAGES, "{n_tried}");
}
