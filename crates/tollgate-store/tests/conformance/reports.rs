//! Reports: whatever the cut, the sums are those of the events; lists are complete.

use std::collections::BTreeMap;

use tollgate_domain::{
    BudgetWindow, KeyId, Meter, ProjectId, RequestId, RequestOutcome, TenantId, TimeZoneName, UnixMillis,
    UsageEvent,
};
use tollgate_store::{
    PageRequest, RequestCursor, RequestFilter, UsageBucket, UsageDimension, UsageQuery, UsageRow,
};

use crate::fixture::Fixture;
use crate::policy::missing;
use crate::samples::{NEW_YEAR, ctx, event, key, project, tenant};

crate::on_both_databases!(
    usage_sums_equal_the_events,
    usage_names_what_it_knows,
    request_lists_are_complete_and_filtered,
    receipts_are_found,
);

/// Two tenants' events over some four months.
async fn journaled(fixture: &Fixture) -> Vec<UsageEvent> {
    let all: Vec<_> = (0..400).map(|n| event(n, 1 + u128::from(n % 5 == 0))).collect();
    fixture.store.journal_events(&all).await.unwrap();
    all
}

fn value_of(dimension: &UsageDimension, event: &UsageEvent) -> Option<String> {
    match dimension {
        UsageDimension::Tenant => Some(event.tenant.to_string()),
        UsageDimension::Project => Some(event.project.to_string()),
        UsageDimension::Key => Some(event.key.to_string()),
        UsageDimension::Model => Some(event.model.clone()),
        UsageDimension::Provider => Some(event.provider.clone()),
        UsageDimension::User => event.end_user.clone(),
        UsageDimension::Label(label) => event.labels.get(label).cloned(),
    }
}

fn bucket_of(bucket: UsageBucket, event: &UsageEvent) -> Option<UnixMillis> {
    let window = match bucket {
        UsageBucket::None => return None,
        UsageBucket::Hour => BudgetWindow::Hour,
        UsageBucket::Day => BudgetWindow::Day,
        UsageBucket::Month => BudgetWindow::Month,
    };
    Some(TimeZoneName::utc().periods(window, event.admitted_at).unwrap().current.starts_at)
}

fn is_meant(query: &UsageQuery, event: &UsageEvent) -> bool {
    query.from.is_none_or(|from| event.admitted_at >= from)
        && query.to.is_none_or(|to| event.admitted_at < to)
        && query.tenant.is_none_or(|tenant| event.tenant == tenant)
        && query.project.is_none_or(|project| event.project == project)
        && query.key.is_none_or(|key| event.key == key)
        && query.model.as_ref().is_none_or(|model| &event.model == model)
        && query.provider.as_ref().is_none_or(|provider| &event.provider == provider)
}

/// Bucket and group values to requests, input, cached, output, cost, provider's cost and errors.
type Sums = BTreeMap<(Option<UnixMillis>, Vec<Option<String>>), [u64; 7]>;

fn expected(events: &[UsageEvent], query: &UsageQuery) -> Sums {
    let mut sums = Sums::new();
    for event in events.iter().filter(|event| is_meant(query, event)) {
        let groups = query.group_by.iter().map(|dimension| value_of(dimension, event)).collect();
        let sum = sums.entry((bucket_of(query.bucket, event), groups)).or_default();
        let added = [
            1,
            event.usage.input_tokens(),
            event.usage.get(Meter::CachedInput),
            event.usage.output_tokens(),
            event.cost.0.unsigned_abs(),
            event.provider_cost.0.unsigned_abs(),
            u64::from(matches!(event.outcome, RequestOutcome::Error(_))),
        ];
        for (sum, added) in sum.iter_mut().zip(added) {
            *sum += added;
        }
    }
    sums
}

fn found(rows: &[UsageRow]) -> Sums {
    let sums: Sums = rows
        .iter()
        .map(|row| {
            let groups =
                row.groups.iter().map(|group| group.id.clone().or_else(|| group.name.clone())).collect();
            let sum = [
                row.requests,
                row.input_tokens,
                row.cached_tokens,
                row.output_tokens,
                row.cost.0.unsigned_abs(),
                row.provider_cost.0.unsigned_abs(),
                row.errors,
            ];
            ((row.bucket_starts_at, groups), sum)
        })
        .collect();
    assert_eq!(sums.len(), rows.len(), "a group appears twice");
    sums
}

async fn usage_sums_equal_the_events(fixture: &Fixture) {
    use UsageDimension::{Key, Label, Model, Project, Provider, Tenant, User};
    let all = journaled(fixture).await;
    let team = || Label("team".to_owned());
    let groups = [
        vec![],
        vec![Tenant],
        vec![Project],
        vec![Key],
        vec![Model],
        vec![Provider],
        vec![User],
        vec![team()],
        vec![Label("unknown".to_owned())],
        vec![team(), Tenant, Model, Label("other".to_owned()), User, Project],
    ];
    let buckets = [UsageBucket::None, UsageBucket::Hour, UsageBucket::Day, UsageBucket::Month];
    let day = |n: i64| Some(NEW_YEAR.plus_ms(n * 24 * 3_600_000));
    let filters = [
        UsageQuery::default(),
        UsageQuery { from: day(3), to: day(40), ..UsageQuery::default() },
        UsageQuery {
            tenant: Some(TenantId::from_u128(2)),
            model: Some("model-1".to_owned()),
            ..UsageQuery::default()
        },
        UsageQuery { project: Some(ProjectId::from_u128(101)), ..UsageQuery::default() },
        UsageQuery {
            key: Some(KeyId::from_u128(1_002)),
            provider: Some("provider-0".to_owned()),
            ..UsageQuery::default()
        },
    ];
    for group_by in groups {
        for bucket in buckets {
            for filter in &filters {
                let query = UsageQuery { group_by: group_by.clone(), bucket, ..filter.clone() };
                let rows = fixture.store.usage(&query).await.unwrap();
                let expected = expected(&all, &query);
                assert!(!expected.is_empty());
                assert_eq!(found(&rows), expected, "{query:?}");
                assert!(rows.is_sorted_by_key(|row| row.bucket_starts_at), "{query:?}");
            }
        }
    }
    let nothing = UsageQuery { from: day(4_000), group_by: vec![Tenant], ..UsageQuery::default() };
    assert_eq!(fixture.store.usage(&nothing).await.unwrap(), []);
}

async fn usage_names_what_it_knows(fixture: &Fixture) {
    let store = &fixture.store;
    store.create_tenant(&ctx(), tenant(1)).await.unwrap();
    store.create_project(&ctx(), project(100, 1)).await.unwrap();
    store.create_key(&ctx(), key(1_000, 100), "x").await.unwrap();
    journaled(fixture).await;
    let group_by = vec![UsageDimension::Tenant, UsageDimension::Project, UsageDimension::Key];
    let rows = store.usage(&UsageQuery { group_by, ..UsageQuery::default() }).await.unwrap();
    let names = |row: &UsageRow| -> Vec<_> { row.groups.iter().map(|group| group.name.clone()).collect() };
    let some = |name: &str| Some(name.to_owned());
    assert!(rows.iter().any(|row| names(row) == [some("tenant-1"), some("project-100"), some("key-1000")]));
    assert!(rows.iter().any(|row| names(row) == [some("tenant-1"), None, None]));
    assert!(rows.iter().any(|row| names(row) == [None, None, None]));
    assert_eq!(rows[0].groups[0].dimension, "tenant");
}

async fn all_pages(fixture: &Fixture, filter: &RequestFilter, limit: u32) -> Vec<UsageEvent> {
    let mut seen = Vec::new();
    let mut request = PageRequest::first(limit);
    loop {
        let page = fixture.store.list_requests(filter, request).await.unwrap();
        seen.extend(page.items);
        let Some(next) = page.next else { return seen };
        // As it travels through the API.
        let next: RequestCursor = next.to_string().parse().unwrap();
        request = PageRequest::after(limit, next);
    }
}

const DAY_MS: i64 = 24 * 3_600_000;

async fn request_lists_are_complete_and_filtered(fixture: &Fixture) {
    let mut all = journaled(fixture).await;
    all.sort_by_key(|event| std::cmp::Reverse((event.finished_at, event.event)));
    // Three end in each millisecond: pages of two cut between them.
    assert_eq!(all_pages(fixture, &RequestFilter::default(), 2).await, all);
    assert_eq!(all_pages(fixture, &RequestFilter::default(), 400).await, all);
    type Check = fn(&UsageEvent) -> bool;
    let text = |text: &str| Some(text.to_owned());
    let cases: [(RequestFilter, Check); 8] = [
        (RequestFilter { tenant: Some(TenantId::from_u128(2)), ..RequestFilter::default() }, |e| {
            e.tenant == TenantId::from_u128(2)
        }),
        (RequestFilter { project: Some(ProjectId::from_u128(101)), ..RequestFilter::default() }, |e| {
            e.project == ProjectId::from_u128(101)
        }),
        (RequestFilter { key: Some(KeyId::from_u128(1_003)), ..RequestFilter::default() }, |e| {
            e.key == KeyId::from_u128(1_003)
        }),
        (RequestFilter { provider: text("provider-1"), ..RequestFilter::default() }, |e| {
            e.provider == "provider-1"
        }),
        (RequestFilter { model: text("model-2"), ..RequestFilter::default() }, |e| e.model == "model-2"),
        (RequestFilter { model: text("chat-default"), ..RequestFilter::default() }, |_| true),
        (RequestFilter { outcome: text("upstream_error"), ..RequestFilter::default() }, |e| {
            matches!(e.outcome, RequestOutcome::Error(_))
        }),
        (
            RequestFilter {
                from: Some(NEW_YEAR.plus_ms(3 * DAY_MS)),
                to: Some(NEW_YEAR.plus_ms(9 * DAY_MS)),
                outcome: text("ok"),
                ..RequestFilter::default()
            },
            |e| {
                let since = e.finished_at.since(NEW_YEAR);
                (3 * DAY_MS..9 * DAY_MS).contains(&since) && e.outcome == RequestOutcome::Ok
            },
        ),
    ];
    for (filter, check) in cases {
        let meant: Vec<_> = all.iter().filter(|event| check(event)).cloned().collect();
        assert!(!meant.is_empty());
        assert_eq!(all_pages(fixture, &filter, 7).await, meant, "{filter:?}");
    }
    assert!("yesterday".parse::<RequestCursor>().is_err());
}

async fn receipts_are_found(fixture: &Fixture) {
    let store = &fixture.store;
    let all = journaled(fixture).await;
    assert_eq!(store.request(all[33].request).await.unwrap(), all[33]);
    assert_eq!(missing(store.request(RequestId::from_u128(404)).await), "request");
}
