//! Whose key it is, and why it is refused.

use super::*;

fn generated(seed: u8) -> ApiKeySecret {
    ApiKeySecret::generate(&std::array::from_fn(|index| seed.wrapping_add((index * 37) as u8)))
}

fn outcome(snapshot: &Snapshot, presented: &str, now: UnixMillis) -> Result<KeyId, AuthDenied> {
    snapshot.authenticate(presented, now).map(|context| context.key.id)
}

#[test]
fn each_state_of_a_key_has_its_answer() {
    let blocked_tenant = TenantPolicy { blocked: true, ..tenant() };
    let state = |state| vec![PolicyObject::Key(KeyPolicy { state, ..key() })];
    let expiring = |at| vec![PolicyObject::Key(KeyPolicy { expires_at: Some(at), ..key() })];
    let revoked_and_expired =
        KeyPolicy { state: KeyState::Revoked, expires_at: Some(UnixMillis(0)), ..key() };
    let cases = [
        ("active", vec![], Ok(KEY)),
        ("revoked", state(KeyState::Revoked), Err(AuthDenied::Revoked)),
        ("blocked", state(KeyState::Blocked), Err(AuthDenied::Blocked)),
        ("expires later", expiring(NOW.plus_ms(1)), Ok(KEY)),
        ("expires now", expiring(NOW), Err(AuthDenied::Expired)),
        ("expired", expiring(NOW.plus_ms(-1)), Err(AuthDenied::Expired)),
        ("tenant blocked", vec![PolicyObject::Tenant(blocked_tenant)], Err(AuthDenied::TenantBlocked)),
        ("for good", vec![PolicyObject::Key(revoked_and_expired)], Err(AuthDenied::Revoked)),
    ];
    for (name, changed, expected) in cases {
        assert_eq!(outcome(&snapshot_with(changed), SECRET, NOW), expected, "{name}");
    }
}

#[test]
fn what_is_not_a_key_here_is_unknown() {
    let own = generated(1);
    let known = KeyPolicy { hash: own.hash(&pepper()), ..key() };
    let snapshot = snapshot_with([PolicyObject::Key(known)]);
    assert_eq!(outcome(&snapshot, own.expose(), NOW), Ok(KEY));
    let mut wrong_checksum = own.expose().to_owned();
    let last = wrong_checksum.pop().unwrap();
    wrong_checksum.push(if last == 'a' { 'b' } else { 'a' });
    let stranger = generated(2);
    let truncated = &own.expose()[..own.expose().len() - 1];
    for presented in ["", "short", SECRET, &wrong_checksum, stranger.expose(), truncated, "ключ-ключ-ключ"]
    {
        assert_eq!(outcome(&snapshot, presented, NOW), Err(AuthDenied::Unknown), "{presented}");
    }
}

#[test]
fn a_key_with_a_foreign_pepper_is_unknown() {
    let foreign = Settings { key_pepper: KeyPepper::new([8; 32]), ..settings() };
    let snapshot = snapshot_with([PolicyObject::Settings(foreign)]);
    assert_eq!(outcome(&snapshot, SECRET, NOW), Err(AuthDenied::Unknown));
}

#[test]
fn the_key_before_a_rotation_lives_until_its_grace_ends() {
    let (old, new) = (generated(3), generated(4));
    let rotated = |state| {
        let previous_hash = Some((old.hash(&pepper()), NOW));
        PolicyObject::Key(KeyPolicy { hash: new.hash(&pepper()), previous_hash, state, ..key() })
    };
    let snapshot = snapshot_with([rotated(KeyState::Active)]);
    for now in [NOW.plus_ms(-1), NOW, NOW.plus_ms(1)] {
        assert_eq!(outcome(&snapshot, new.expose(), now), Ok(KEY), "{now}");
    }
    assert_eq!(outcome(&snapshot, old.expose(), NOW.plus_ms(-1)), Ok(KEY));
    assert_eq!(outcome(&snapshot, old.expose(), NOW), Err(AuthDenied::Expired));
    let revoked = snapshot_with([rotated(KeyState::Revoked)]);
    assert_eq!(outcome(&revoked, old.expose(), NOW.plus_ms(-1)), Err(AuthDenied::Revoked));
}

#[test]
fn a_text_that_was_given_up_belongs_to_the_key_that_has_it_now() {
    let text = generated(5);
    let (other, third) = (KeyId::from_u128(8), KeyId::from_u128(9));
    let keyed = |id, seed, previous_until: Option<UnixMillis>| {
        let name = format!("key-{seed}");
        let previous_hash = previous_until.map(|until| (text.hash(&pepper()), until));
        PolicyObject::Key(KeyPolicy {
            id,
            name,
            hash: generated(seed).hash(&pepper()),
            previous_hash,
            ..key()
        })
    };
    let (early, late) = (NOW.plus_ms(10), NOW.plus_ms(20));
    // The key that has it now, whichever of the two is met first and however long the grace is.
    for (present, former) in [(KEY, other), (other, KEY)] {
        for until in [NOW.plus_ms(-1), late] {
            let snapshot = snapshot_with([keyed(present, 5, None), keyed(former, 6, Some(until))]);
            assert_eq!(outcome(&snapshot, text.expose(), NOW), Ok(present));
            assert_eq!(outcome(&snapshot, text.expose(), late), Ok(present), "it has no end");
            assert_eq!(outcome(&snapshot, generated(6).expose(), NOW), Ok(former));
        }
    }
    // A rotation to the same text changes nothing.
    let snapshot = snapshot_with([keyed(KEY, 5, Some(NOW))]);
    assert_eq!(outcome(&snapshot, text.expose(), late), Ok(KEY));
    // Of two that both gave it up, the one with the longer grace.
    for (first, second) in [(other, third), (third, other)] {
        let snapshot = snapshot_with([keyed(first, 6, Some(early)), keyed(second, 7, Some(late))]);
        assert_eq!(outcome(&snapshot, text.expose(), NOW), Ok(second));
        assert_eq!(outcome(&snapshot, text.expose(), late), Err(AuthDenied::Expired));
    }
}

#[test]
fn nobody_passes_an_empty_snapshot() {
    let only_settings: PolicySet = [PolicyObject::Settings(settings())].into_iter().collect();
    let snapshot = Snapshot::compile(&only_settings, 1, &Catalog::default()).unwrap();
    assert_eq!(outcome(&snapshot, SECRET, NOW), Err(AuthDenied::Unknown));
}
