//! What no pod could serve is not published.

use tollgate_domain::{Id, ProviderId};
use tollgate_policy::Dialect;
use tollgate_store::{NewProvider, WriteContext};
use tollgate_testkit::wait::eventually;

use super::harness::{NOW, PATIENCE, World, start};

/// A provider that the use cases refuse, because no pod takes policy with it.
pub(super) fn provider_with_a_slash(id: ProviderId) -> NewProvider {
    NewProvider {
        id,
        name: "a/b".into(),
        dialect: Dialect::Openai,
        base_url: "http://127.0.0.1:9/v1".into(),
        credentials: Vec::new(),
        region: None,
        retention: None,
        trains_on_data: None,
        max_concurrent_requests: None,
        responses: None,
    }
}

#[tokio::test]
async fn policy_that_no_pod_could_serve_is_withheld_until_it_is_repaired() {
    let world = World::new().await;
    world.provider("openai").await;
    world.tenant("acme").await;
    let good = world.control.policy_is_current().await.unwrap();
    let pod = world.control.local_pod(Id::from_u128(1), "pod-1");
    pod.acknowledge(good);
    let (context, bad) = (WriteContext::system("test", NOW), Id::from_u128(9));
    world.store.create_provider(&context, provider_with_a_slash(bad)).await.unwrap();
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
    assert!(refused.reason.contains("has a slash"), "{}", refused.reason);
    // A replica that starts now has nothing to publish, but starts: that is how it can be repaired.
    let second = start(world.store.clone(), world.ledger.clone(), world.clock.clone(), 7).await.unwrap();
    assert_eq!(second.policy_is_current().await.unwrap(), 0);
    assert!(second.policy().borrow().set.is_empty());

    second.app().delete_provider(&world.admin, &bad.to_string()).await.unwrap();
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
