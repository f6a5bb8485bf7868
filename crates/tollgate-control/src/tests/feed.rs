//! What no pod could serve is not published.

use tollgate_catalog::{PriceRow, ServiceTier};
use tollgate_domain::{Id, Meter, PricePerMillion};
use tollgate_store::WriteContext;
use tollgate_testkit::wait::eventually;

use super::harness::{NOW, PATIENCE, World, start};

/// A row that the use cases refuse, because no pod takes policy with it.
pub(super) fn row_for_one_tenant(tenant: &str) -> PriceRow {
    PriceRow {
        id: None,
        tenant: Some(tenant.parse().unwrap()),
        provider: "openai".into(),
        model: "m".into(),
        effective_from: NOW.plus_ms(60_000),
        meter: Some(Meter::Input),
        service_tier: ServiceTier::Standard,
        context_from: 0,
        price: PricePerMillion(1),
        source: "operator".into(),
    }
}

#[tokio::test]
async fn policy_that_no_pod_could_serve_is_withheld_until_it_is_repaired() {
    let world = World::new().await;
    world.provider("openai").await;
    let tenant = world.tenant("acme").await;
    let good = world.control.policy_is_current().await.unwrap();
    let pod = world.control.local_pod(Id::from_u128(1), "pod-1");
    pod.acknowledge(good);
    let (context, price) = (WriteContext::system("test", NOW), Id::from_u128(9));
    world.store.create_price(&context, price, row_for_one_tenant(&tenant.id)).await.unwrap();
    assert_eq!(world.control.policy_is_current().await.unwrap(), good);
    assert_eq!(world.control.policy().borrow().revision, good, "the last good version stays");
    // Later changes wait behind it, and nobody waits for pods that will not be told.
    world.tenant("umbrella").await;
    assert_eq!(world.control.policy_is_current().await.unwrap(), good);
    world.app().rolled_out().await;
    let node = async || world.app().list_nodes(&world.admin).await.unwrap().data.remove(0);
    let listed = node().await;
    let refused = listed.refused.unwrap();
    assert_eq!((refused.revision, listed.revision, listed.lag), (good + 2, good, 2));
    assert!(refused.reason.contains("not supported yet"), "{}", refused.reason);
    // A replica that starts now has nothing to publish, but starts: that is how it can be repaired.
    let second = start(world.store.clone(), world.ledger.clone(), world.clock.clone(), 7).await.unwrap();
    assert_eq!(second.policy_is_current().await.unwrap(), 0);
    assert!(second.policy().borrow().set.is_empty());

    second.app().delete_price(&world.admin, &price.to_string()).await.unwrap();
    for control in [&world.control, &second] {
        let caught_up = async || {
            let version = control.policy().borrow().clone();
            (version.revision == good + 3).then_some(version)
        };
        let version = eventually(PATIENCE, "the repaired policy", caught_up).await.unwrap();
        assert_eq!(version.set.len(), 4, "settings, a provider and both tenants");
    }
    assert_eq!(node().await.refused, None);
    second.shutdown().await;
}
