use proptest::prelude::*;

use crate::{
    AppliedMargin, Attempt, AttemptBill, AttemptOutcome, BasisPoints, ChargeLine, CredentialId, ErrorKind,
    EventId, HoldId, KeyId, MarginId, Meter, NanoUsd, PriceId, PricePerMillion, ProjectId, RequestId,
    RequestOutcome, SettlementBasis, Surface, TenantId, UnixMillis, Usage, UsageEvent,
};

fn bill() -> impl Strategy<Value = Option<Box<AttemptBill>>> {
    let bill = (charge(), any::<i64>(), any::<bool>()).prop_map(|(charge, cost, is_odd)| {
        Box::new(AttemptBill {
            cost: NanoUsd(cost),
            provider_cost: NanoUsd(cost / 2),
            usage: Usage::ZERO.with(Meter::Input, cost.unsigned_abs()),
            basis: SettlementBasis::Estimated,
            margin: is_odd
                .then(|| AppliedMargin { rule: MarginId::from_u128(8), basis_points: BasisPoints::LEAST }),
            provider_charge: is_odd.then(|| charge.clone()),
            charge,
        })
    });
    proptest::option::of(bill)
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let attempt =
        (any::<String>(), any::<Option<u128>>(), 0..AttemptOutcome::ALL.len(), any::<Option<u16>>(), bill())
            .prop_map(|(model, credential, outcome, status, bill)| Attempt {
                provider: "p\u{7f}".to_owned(),
                model,
                credential: credential.map(CredentialId::from_u128),
                outcome: AttemptOutcome::ALL[outcome],
                status,
                started_at: UnixMillis(-5),
                first_byte_ms: 0,
                duration_ms: u64::MAX,
                bill,
            });
    proptest::collection::vec(attempt, 0..3)
}

fn charge() -> impl Strategy<Value = Vec<ChargeLine>> {
    let line = (0..Meter::ALL.len(), any::<u64>(), any::<i64>(), any::<Option<u128>>()).prop_map(
        |(meter, units, price, row)| ChargeLine {
            meter: Meter::ALL[meter],
            units,
            price: PricePerMillion(price),
            price_row: row.map(PriceId::from_u128),
            tenant_price: units % 2 == 0,
            source: "operator \"x\"".to_owned(),
        },
    );
    proptest::collection::vec(line, 0..3)
}

fn outcome() -> impl Strategy<Value = RequestOutcome> {
    prop_oneof![
        Just(RequestOutcome::Ok),
        Just(RequestOutcome::ClientClosed),
        Just(RequestOutcome::Lost),
        (0..ErrorKind::ALL.len()).prop_map(|kind| RequestOutcome::Error(ErrorKind::ALL[kind])),
    ]
}

type Texts = (Option<String>, std::collections::BTreeMap<String, String>, String);

pub(in crate::event) fn events() -> impl Strategy<Value = UsageEvent> {
    let texts = (
        any::<Option<String>>(),
        proptest::collection::btree_map(any::<String>(), any::<String>(), 0..3),
        any::<String>(),
    );
    let numbers = (any::<u128>(), any::<i64>(), any::<i64>(), any::<u64>(), any::<Option<u64>>(), 0..3_usize);
    (texts, numbers, attempts(), charge(), outcome()).prop_map(
        |(
            (end_user, labels, model),
            (id, at, cost, count, first_byte_ms, which),
            attempts,
            charge,
            outcome,
        ): (Texts, _, _, _, _)| UsageEvent {
            event: EventId::from_u128(id),
            request: RequestId::from_u128(id),
            hold: HoldId::from_u128(1),
            tenant: TenantId::from_u128(u128::MAX),
            project: ProjectId::from_u128(3),
            key: KeyId::from_u128(4),
            end_user,
            labels,
            surface: Surface::ALL[which],
            requested_model: model.clone(),
            provider: "mock".to_owned(),
            model,
            streamed: count % 2 == 0,
            admitted_at: UnixMillis(at),
            finished_at: UnixMillis(at),
            held: NanoUsd(cost),
            cost: NanoUsd(cost),
            provider_cost: NanoUsd(cost / 1_000_000 * 1_000),
            usage: Usage::ZERO.with(Meter::Input, count).with(Meter::Search, count % 3),
            margin: BasisPoints::new(i32::try_from(count % 1_010_001).unwrap() - 10_000)
                .filter(|_| which > 0)
                .map(|basis_points| AppliedMargin { rule: MarginId::from_u128(id), basis_points }),
            provider_charge: (which > 1).then(|| charge.clone()),
            charge,
            basis: [SettlementBasis::Provider, SettlementBasis::Counted, SettlementBasis::Estimated][which],
            outcome,
            status: 499,
            attempts,
            duration_ms: count,
            first_byte_ms,
            overhead_us: 250,
            policy_revision: 9,
        },
    )
}

proptest! {
    #[test]
    fn the_text_is_what_serde_writes(event in events()) {
        prop_assert_eq!(event.to_json(), serde_json::to_string(&event).unwrap());
    }
}

/// What releases before the bills of attempts wrote.
#[test]
fn attempts_without_a_bill_are_read() {
    let text = r#"{"provider":"p","model":"m","outcome":"timeout","started_at":1,"first_byte_ms":2,"duration_ms":3}"#;
    let attempt: Attempt = serde_json::from_str(text).unwrap();
    assert_eq!((attempt.outcome, attempt.bill), (AttemptOutcome::Timeout, None));
}

#[test]
fn every_escape_is_serdes() {
    let all: String = (0..=0x2_ff_u32).filter_map(char::from_u32).collect();
    let mut out = super::Writer { text: Vec::new(), needs_comma: false };
    out.escaped(&all);
    assert_eq!(String::from_utf8(out.text).unwrap(), serde_json::to_string(&all).unwrap());
}
