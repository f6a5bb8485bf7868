//! The life of a key: blocked, rotated, revoked.

use tollgate_domain::{KeyId, ProjectId};
use tollgate_policy::{KeyPolicy, KeyState};
use tollgate_store::{KeyFilter, PageRequest};

use crate::fixture::Fixture;
use crate::policy::{conflict, missing, seed};
use crate::samples::{NEW_YEAR, ctx, ctx_at, hash, key};

crate::on_both_databases!(
    rotation_keeps_the_old_text_for_a_while,
    a_revoked_key_stays_and_frees_its_name,
    update_leaves_hashes_alone,
);

async fn rotation_keeps_the_old_text_for_a_while(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let (id, later) = (KeyId::from_u128(100), ctx_at(NEW_YEAR.plus_ms(1_000)));
    let until = later.now.plus_ms(60_000);
    let rotated = store.rotate_key(&later, id, hash(777), "tgk_new", until).await.unwrap();
    assert_eq!(store.key(id).await.unwrap(), rotated);
    assert_eq!(rotated.hash, hash(777));
    assert_eq!(rotated.to_policy().previous_hash, Some((hash(100), until)));
    assert_eq!((rotated.rotated_at, rotated.public_prefix.as_str()), (Some(later.now), "tgk_new"));

    // The old text opens no other key while it is accepted; afterwards it may.
    let thief = KeyPolicy { hash: hash(100), ..key(101, 10) };
    assert_eq!(conflict(store.create_key(&later, thief.clone(), "x").await), ("key", "secret"));
    let again = store.rotate_key(&later, id, hash(777), "x", until).await;
    assert_eq!(
        conflict(
            again
                .map(|_| ())
                .and(store.create_key(&later, KeyPolicy { hash: hash(777), ..key(102, 10) }, "x").await)
        ),
        ("key", "secret")
    );
    store.create_key(&ctx_at(until), thief, "x").await.unwrap();
}

async fn a_revoked_key_stays_and_frees_its_name(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let id = KeyId::from_u128(100);
    let revoked = store.revoke_key(&ctx(), id).await.unwrap();
    assert_eq!(revoked.state, KeyState::Revoked);
    let revision = store.policy_revision().await.unwrap();
    store.revoke_key(&ctx(), id).await.unwrap();
    assert_eq!(store.policy_revision().await.unwrap(), revision);
    assert_eq!(store.key(id).await.unwrap().state, KeyState::Revoked);

    let revived = store.update_key(&ctx(), id, |key| key.state = KeyState::Active).await;
    assert_eq!(conflict(revived), ("key", "state"));
    assert_eq!(conflict(store.rotate_key(&ctx(), id, hash(9), "x", NEW_YEAR).await), ("key", "state"));
    let project = ProjectId::from_u128(10);
    assert_eq!(missing(store.key_by_name(project, "key-100").await), "key");
    let secret_again = KeyPolicy { hash: hash(100), ..key(101, 10) };
    assert_eq!(conflict(store.create_key(&ctx(), secret_again, "x").await), ("key", "secret"));
    let successor = KeyPolicy { name: "key-100".to_owned(), ..key(102, 10) };
    store.create_key(&ctx(), successor, "x").await.unwrap();

    let ids = async |include_revoked| {
        let filter = KeyFilter { project: Some(project), include_revoked, ..KeyFilter::default() };
        let page = store.list_keys(&filter, PageRequest::first(9)).await.unwrap();
        page.items.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(false).await, [KeyId::from_u128(102)]);
    assert_eq!(ids(true).await, [id, KeyId::from_u128(102)]);
}

async fn update_leaves_hashes_alone(fixture: &Fixture) {
    let store = &fixture.store;
    seed(store).await;
    let id = KeyId::from_u128(100);
    let ctx = ctx();
    let blocked = store.update_key(&ctx, id, |key| {
        key.hash = hash(5);
        key.project = ProjectId::from_u128(5);
        key.state = KeyState::Blocked;
        key.models.clear();
        key.expires_at = None;
    });
    let expected =
        KeyPolicy { state: KeyState::Blocked, models: Vec::new(), expires_at: None, ..key(100, 10) };
    assert_eq!(blocked.await.unwrap().to_policy(), expected);
    assert_eq!(store.key(id).await.unwrap().to_policy(), expected);
    assert_eq!(missing(store.update_key(&ctx, KeyId::from_u128(404), |_| ()).await), "key");
}
