use std::sync::Arc;

use proptest::prelude::*;
use tollgate_catalog::{PriceRow, PriceSheet};
use tollgate_domain::{ProviderId, Secret};
use tollgate_policy::{Candidate, Dialect};

use super::*;

fn provider(n: u128, weights: &[u32]) -> Arc<ProviderPolicy> {
    let credential = |(index, weight): (usize, &u32)| CredentialPolicy {
        id: CredentialId::from_u128(n * 100 + index as u128),
        name: format!("c{index}"),
        secret: Secret::new("s"),
        weight: *weight,
    };
    Arc::new(ProviderPolicy {
        id: ProviderId::from_u128(n),
        name: format!("p{n}"),
        dialect: Dialect::Openai,
        base_url: "http://127.0.0.1:1".to_owned(),
        credentials: weights.iter().enumerate().map(credential).collect(),
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    })
}

fn candidates(providers: &[Arc<ProviderPolicy>]) -> Vec<PricedCandidate> {
    let priced = |provider: &Arc<ProviderPolicy>| PricedCandidate {
        candidate: Arc::new(Candidate {
            provider: Arc::clone(provider),
            model: "m".into(),
            prices: None,
            is_priced_by_name: true,
            max_output_tokens: None,
            context_tokens: None,
            tokenizer: None,
            is_output_visible: true,
            quirks: Arc::default(),
            responses: Default::default(),
        }),
        sheet: PriceSheet::from_rows(std::iter::empty::<&PriceRow>()),
        input_bound: 1,
        output_cap: 1,
        slice_tokens: None,
        dropped: None,
    };
    providers.iter().map(priced).collect()
}

fn retry(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { max_attempts, backoff_ms: 100, on: RetryOn::ALL.to_vec() }
}

/// Plays `outcomes` and notes which `candidate/credential` was tried each time.
fn play(candidates: &[PricedCandidate], retry: &RetryPolicy, outcomes: &[AttemptOutcome]) -> Vec<String> {
    let mut route = Route::new(0);
    let mut tried = Vec::new();
    for outcome in outcomes {
        let Some(next) = route.next(candidates) else {
            tried.push("none".to_owned());
            break;
        };
        let credential = next.credential;
        tried.push(format!("{}/{}", next.candidate, credential.map_or("-", |c| c.name.as_str())));
        let id = credential.map(|credential| credential.id);
        if route.after_failure(*outcome, id, candidates, retry) == AfterFailure::GiveUp {
            tried.push("give up".to_owned());
            break;
        }
    }
    tried
}

#[test]
fn failover_table() {
    use AttemptOutcome::{ConnectFailed, CredentialRefused, RateLimited, Refused, ServerError, Timeout};
    let two = candidates(&[provider(1, &[1, 1]), provider(2, &[1])]);
    let bare = candidates(&[provider(3, &[])]);
    type Case<'a> = (&'a str, &'a [PricedCandidate], Vec<AttemptOutcome>, Vec<&'a str>);
    let cases: Vec<Case<'_>> = vec![
        ("the next candidate after a failure", &two, vec![ServerError, Timeout], vec!["0/c0", "1/c0"]),
        (
            "another credential when one is limited",
            &two,
            vec![RateLimited, RateLimited, RateLimited],
            vec!["0/c0", "0/c1", "1/c0", "give up"],
        ),
        (
            "every credential when they are refused",
            &two,
            vec![CredentialRefused; 4],
            vec!["0/c0", "0/c1", "1/c0", "give up"],
        ),
        ("what the request itself caused is not repeated", &two, vec![Refused], vec!["0/c0", "give up"]),
        (
            "the last candidate again after a wait",
            &bare,
            vec![ConnectFailed; 4],
            vec!["0/-", "0/-", "0/-", "give up"],
        ),
        (
            "a limited provider without another is not pressed",
            &bare,
            vec![RateLimited],
            vec!["0/-", "give up"],
        ),
    ];
    for (name, candidates, outcomes, expected) in cases {
        assert_eq!(play(candidates, &retry(3), &outcomes), expected, "{name}");
    }
}

#[test]
fn only_the_configured_classes_are_tried_again() {
    let two = candidates(&[provider(1, &[1]), provider(2, &[1])]);
    let only_timeouts = RetryPolicy { on: vec![RetryOn::Timeout], ..retry(3) };
    assert_eq!(play(&two, &only_timeouts, &[AttemptOutcome::ServerError]), ["0/c0", "give up"]);
    assert_eq!(
        play(&two, &only_timeouts, &[AttemptOutcome::Timeout, AttemptOutcome::ServerError]),
        ["0/c0", "1/c0", "give up"]
    );
    assert_eq!(play(&two, &retry(1), &[AttemptOutcome::Timeout]), ["0/c0", "give up"]);
}

#[test]
fn credentials_share_by_weight() {
    let weighted = candidates(&[provider(1, &[3, 1])]);
    let n_first = (0..4_000_u64)
        .filter(|seed| Route::new(*seed).next(&weighted).unwrap().credential.unwrap().name == "c0")
        .count();
    assert_eq!(n_first, 3_000);
}

proptest! {
    #[test]
    fn waits_are_bounded_and_attempts_end(seed in any::<u64>(), backoff_ms in 0_u64..100_000_000, max_attempts in 1_u32..20) {
        let one = candidates(&[provider(1, &[])]);
        let policy = RetryPolicy { backoff_ms, ..retry(max_attempts) };
        let mut route = Route::new(seed);
        let mut n_attempts = 0;
        while route.next(&one).is_some() {
            n_attempts += 1;
            match route.after_failure(AttemptOutcome::ServerError, None, &one, &policy) {
                AfterFailure::TryAgain(wait) => prop_assert!(wait <= MAX_BACKOFF),
                AfterFailure::GiveUp => break,
            }
        }
        prop_assert_eq!(n_attempts, max_attempts);
    }
}
