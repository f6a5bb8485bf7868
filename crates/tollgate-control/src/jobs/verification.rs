//! Verifications, one at a time: the journal against its own rows, then the ledger's wallets against the journal.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{Clock, MAX_LIMIT, NanoUsd, TenantId, UnixMillis};
use tollgate_ledger::{Balance, Ledger};
use tollgate_policy::Billing;
use tollgate_store::{PageRequest, Store, TenantRecord};

use crate::app::{FindingView, VerificationState, VerificationView};
use crate::parts::Time;
use crate::{AppError, app};

/// How many tenants are read at a time.
const READ_PAGE: u32 = 500;
/// How long charges on their way from the ledger to the journal are waited for, in all.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a wallet whose charges are on their way.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The latest verification. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verifications {
    latest: Arc<Mutex<VerificationView>>,
    wanted: Arc<Notify>,
}

impl Verifications {
    /// Begins one unless it is under way.
    pub(crate) fn start(&self, now: UnixMillis) -> VerificationView {
        let mut latest = self.latest.lock();
        if latest.state != VerificationState::Running {
            *latest = VerificationView {
                state: VerificationState::Running,
                started_at: Some(Time(now)),
                ..VerificationView::default()
            };
            self.wanted.notify_one();
        }
        latest.clone()
    }

    pub(crate) fn latest(&self) -> VerificationView {
        self.latest.lock().clone()
    }

    /// Does those that are asked for, until `stop`.
    pub(crate) async fn run(
        self,
        store: Store,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) {
        let work = async {
            loop {
                self.wanted.notified().await;
                let started_at = self.latest.lock().started_at;
                let ended = verify(&store, &ledger).await;
                let view = match ended {
                    Ok(view) => view,
                    Err(error) => {
                        tracing::warn!(%error, "the books could not be verified");
                        let error = Some(error.to_string());
                        VerificationView { state: VerificationState::Failed, error, ..Default::default() }
                    }
                };
                if view.state == VerificationState::Red {
                    let n_findings = view.findings.len() as u64 + view.more_findings;
                    tracing::error!(
                        n_findings,
                        "the books are wrong: `tollgate ledger verify` names the rows"
                    );
                }
                let finished_at = Some(Time(clock.now()));
                *self.latest.lock() = VerificationView { started_at, finished_at, ..view };
            }
        };
        stop.run_until_cancelled(work).await;
    }
}

async fn verify(store: &Store, ledger: &Ledger) -> Result<VerificationView, AppError> {
    let proof = store.verify_journal().await?;
    let mut view = VerificationView {
        requests: proof.requests,
        credits: proof.credits,
        entries: proof.entries,
        wallet_totals: proof.wallet_totals,
        spend_quarters: proof.spend_quarters,
        end_user_quarters: proof.end_user_quarters,
        findings: proof.findings.into_iter().map(FindingView::from).collect(),
        more_findings: proof.n_more_findings,
        ..VerificationView::default()
    };
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    let mut page = PageRequest::first(READ_PAGE);
    loop {
        let part = store.list_tenants(page).await?;
        for tenant in &part.items {
            match compare(store, ledger, tenant, deadline).await? {
                Compared::Same => view.wallets += 1,
                Compared::NotNow => view.wallets_not_compared += 1,
                Compared::Different(findings) => {
                    view.wallets += 1;
                    add(&mut view, findings);
                }
            }
        }
        let Some(next) = part.next else { break };
        page = PageRequest::after(READ_PAGE, next);
    }
    let is_green = view.findings.is_empty() && view.more_findings == 0;
    view.state = if is_green { VerificationState::Green } else { VerificationState::Red };
    Ok(view)
}

fn add(view: &mut VerificationView, findings: Vec<FindingView>) {
    for finding in findings {
        if view.findings.len() < tollgate_store::MAX_FINDINGS {
            view.findings.push(finding);
        } else {
            view.more_findings += 1;
        }
    }
}

/// How a wallet in the ledger stands to the journal.
pub(crate) enum Compared {
    Same,
    Different(Vec<FindingView>),
    /// The ledger does not tell, or charges are on their way.
    NotNow,
}

/// The journal of a wallet at a moment.
#[derive(Clone, Copy)]
struct Books {
    credit: NanoUsd,
    settled: NanoUsd,
}

impl Books {
    /// As the ledger would have it, which counts up to [`MAX_LIMIT`].
    async fn of(store: &Store, tenant: TenantId) -> Result<Self, AppError> {
        let credit = store.credit_total(tenant).await?.sum.max(NanoUsd::ZERO);
        Ok(Self { credit, settled: store.wallet_settled(tenant).await?.min(MAX_LIMIT) })
    }
}

/// A charge is in the ledger first and in the journal soon after, a credit the other way round: a difference counts
/// only where it stays while nothing is on its way.
pub(crate) async fn compare(
    store: &Store,
    ledger: &Ledger,
    tenant: &TenantRecord,
    deadline: Instant,
) -> Result<Compared, AppError> {
    loop {
        let before = Books::of(store, tenant.id).await?;
        let wallet = match ledger.balances(tenant.id, true, &[]).await {
            Ok(balances) if !balances.is_cold => balances.wallet,
            Ok(_) | Err(_) => None,
        };
        let Some(wallet) = wallet else { return Ok(Compared::NotNow) };
        // Everything that the ledger had charged is journaled once the outbox was seen empty.
        let is_settled = matches!(ledger.outbox_len().await, Ok(0));
        let after = Books::of(store, tenant.id).await?;
        let is_prepaid = tenant.billing == Billing::Prepaid;
        let has_limit = !is_prepaid || [before.credit, after.credit].contains(&wallet.limit);
        let has_settled = (before.settled..=after.settled).contains(&wallet.settled);
        if has_limit && has_settled {
            return Ok(Compared::Same);
        }
        if Instant::now() >= deadline {
            // the ledger charges before the journal has it, so that less than the journal is wrong at any moment
            let has_less = wallet.settled < before.settled;
            let can_tell = has_less || (is_settled && before.credit == after.credit);
            return Ok(if can_tell {
                different(tenant.id, wallet, after, is_prepaid)
            } else {
                Compared::NotNow
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn different(tenant: TenantId, wallet: Balance, books: Books, is_prepaid: bool) -> Compared {
    let finding = |what: &str, expected: NanoUsd, found: NanoUsd| FindingView {
        table: app::LEDGER_TABLE.to_owned(),
        id: tenant.to_string(),
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    };
    let mut findings = Vec::new();
    if is_prepaid && wallet.limit != books.credit {
        findings.push(finding("limit of the wallet", books.credit, wallet.limit));
    }
    if wallet.settled != books.settled {
        findings.push(finding("settled of the wallet", books.settled, wallet.settled));
    }
    if findings.is_empty() { Compared::Same } else { Compared::Different(findings) }
}
