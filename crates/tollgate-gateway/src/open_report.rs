//! What this pod has under way, cut into messages that fit.

use std::collections::HashSet;

use tollgate_domain::{Id, TenantId};
use tollgate_ledger::{Ledger, OpenReport};
use tollgate_proto::v1;

/// Bytes of holds and events per message, far below what the control plane takes.
const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// Up to so many tenants the ledger looks them up; of more everything is read once.
const MAX_LOOKED_UP: usize = 16;

/// What is under way of the tenants with these ids; of all where there is none, and where one cannot be read:
/// what is told too little is forgotten by the reseed, what is told too much is not.
pub(crate) fn of(ledger: &Ledger, tenant_ids: &[Vec<u8>]) -> OpenReport {
    let ids = tenant_ids.iter().map(|id| uuid::Uuid::from_slice(id).map(Id::from_uuid));
    let tenants = ids.collect::<Result<Vec<TenantId>, _>>().unwrap_or_default();
    if tenants.is_empty() {
        return ledger.open_report(None);
    }
    if tenants.len() <= MAX_LOOKED_UP {
        return ledger.open_report(Some(&tenants));
    }
    let mut report = ledger.open_report(None);
    let tenants: HashSet<TenantId> = tenants.into_iter().collect();
    report.holds.retain(|hold| tenants.contains(&hold.tenant));
    report.events.retain(|unjournaled| tenants.contains(&unjournaled.event.tenant));
    report
}

/// The report as messages; at least one, the last one marked.
pub(crate) fn chunks(report: &OpenReport, node_id: &[u8], nonce: u64) -> Vec<v1::OpenReportChunk> {
    let empty = |index| v1::OpenReportChunk {
        node_id: node_id.to_vec(),
        nonce,
        index,
        highest_epoch: report.highest_epoch,
        ..v1::OpenReportChunk::default()
    };
    let mut chunks = vec![empty(0)];
    let mut n_bytes = 0;
    let holds = report.holds.iter().map(|hold| (true, serde_json::to_vec(hold)));
    let events = report.events.iter().map(|event| (false, serde_json::to_vec(event)));
    for (is_hold, json) in holds.chain(events) {
        let json = json.expect("holds and events have only maps with text keys");
        if n_bytes > 0 && n_bytes + json.len() > MAX_CHUNK_BYTES {
            chunks.push(empty(u32::try_from(chunks.len()).unwrap_or(u32::MAX)));
            n_bytes = 0;
        }
        n_bytes += json.len();
        let chunk = chunks.last_mut().expect("there is always one");
        if is_hold { chunk.holds.push(json) } else { chunk.events.push(json) }
    }
    chunks.last_mut().expect("there is always one").last = true;
    chunks
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{HoldId, KeyId, NanoUsd, NodeId};
    use tollgate_ledger::{OpenHold, WalletRule};

    use super::*;

    #[test]
    fn a_large_report_is_cut_and_nothing_is_lost() {
        let hold = |n| OpenHold {
            tenant: TenantId::from_u128(1),
            hold: HoldId::from_u128(n),
            key: KeyId::from_u128(2),
            node: NodeId::from_u128(3),
            amount: NanoUsd(5),
            wallet: WalletRule::Enforced,
            budgets: Vec::new(),
            admitted_at: None,
            lease_ms: 60_000,
            progress: NanoUsd::ZERO,
            memo: vec![7; 500],
            slab: None,
        };
        let report =
            OpenReport { holds: (0..1_000).map(hold).collect(), events: Vec::new(), highest_epoch: 9 };
        let chunks = chunks(&report, &[1; 16], 42);
        assert!(chunks.len() > 3);
        assert_eq!(chunks.iter().filter(|chunk| chunk.last).count(), 1);
        assert!(chunks.last().is_some_and(|chunk| chunk.last));
        let read: Vec<OpenHold> = chunks
            .iter()
            .flat_map(|chunk| &chunk.holds)
            .map(|json| serde_json::from_slice(json).unwrap())
            .collect();
        assert_eq!(read, report.holds);
        for (index, chunk) in chunks.iter().enumerate() {
            assert_eq!((chunk.index as usize, chunk.nonce, chunk.highest_epoch), (index, 42, 9));
            assert!(chunk.holds.iter().map(Vec::len).sum::<usize>() <= MAX_CHUNK_BYTES);
        }
        assert_eq!(super::chunks(&OpenReport::default(), &[1; 16], 1).len(), 1);
    }

    #[tokio::test]
    async fn an_id_that_cannot_be_read_is_answered_with_everything() {
        use tollgate_domain::{ManualClock, UnixMillis};
        use tollgate_ledger::{Admission, AdmitOutcome, Seed};

        let ledger = Ledger::memory(std::sync::Arc::new(ManualClock::new(UnixMillis(1_767_225_600_000))));
        let tenant = TenantId::from_u128(1);
        let (wallet_limit, wallet_settled) = (NanoUsd(100), NanoUsd::ZERO);
        let seed = Seed { tenant, wallet_limit, wallet_version: 1, wallet_settled, counters: Vec::new() };
        ledger.seed(&seed).await.unwrap();
        let admission = Admission {
            tenant,
            key: KeyId::from_u128(2),
            node: NodeId::from_u128(3),
            hold: HoldId::from_u128(4),
            amount: NanoUsd(5),
            minimum: NanoUsd(5),
            wallet: WalletRule::Enforced,
            budgets: &[],
            limits: &[],
            tokens: 0,
            lease_ms: 60_000,
            memo: &[],
        };
        assert!(matches!(ledger.admit(&admission).await, Ok(AdmitOutcome::Admitted(_))));
        let stranger = vec![9; 16];
        assert_eq!(of(&ledger, std::slice::from_ref(&stranger)).holds.len(), 0);
        assert_eq!(of(&ledger, &[stranger, vec![1, 2]]).holds.len(), 1);
    }
}
