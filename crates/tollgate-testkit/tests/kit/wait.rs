//! The polling helper.

use std::future::pending;
use std::time::Duration;

use tollgate_testkit::wait::eventually;

#[tokio::test(start_paused = true)]
async fn returns_the_first_value() {
    let mut n_probes = 0;
    let value = eventually(Duration::from_secs(1), "three probes", async || {
        n_probes += 1;
        (n_probes == 3).then_some(n_probes)
    })
    .await;
    assert_eq!(value.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn fails_with_what_was_awaited() {
    let waited = eventually(Duration::from_secs(1), "the moon", async || None::<()>).await;
    assert!(waited.unwrap_err().to_string().contains("the moon"));
    let waited = eventually(Duration::from_secs(1), "a probe", async || pending::<Option<()>>().await).await;
    assert!(waited.unwrap_err().to_string().contains("did not return"));
}
