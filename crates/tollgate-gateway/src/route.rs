//! Which candidate and which credential next. Nothing that failed is picked again for the same request,
//! except the last candidate left, after a wait.

use std::time::Duration;

use tollgate_domain::{AttemptOutcome, CredentialId};
use tollgate_policy::{CredentialPolicy, ProviderPolicy, RetryOn, RetryPolicy};

use crate::plan::PricedCandidate;

/// Waits between attempts never grow beyond this: a client is waiting.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// The order of attempts of one request.
#[derive(Debug)]
pub(crate) struct Route {
    n_attempts: u32,
    candidate: usize,
    refused_credentials: Vec<CredentialId>,
    /// Where in the weights this request starts, so that credentials share the traffic.
    seed: u64,
    /// The only credential that will do.
    pinned: Option<CredentialId>,
}

/// The next attempt.
#[derive(Debug)]
pub(crate) struct NextAttempt<'a> {
    pub(crate) candidate: usize,
    pub(crate) credential: Option<&'a CredentialPolicy>,
}

/// What to do after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Try again, after this wait.
    TryAgain(Duration),
    /// There is nothing left to try.
    GiveUp,
}

impl Route {
    pub(crate) fn new(seed: u64) -> Self {
        Self { n_attempts: 0, candidate: 0, refused_credentials: Vec::new(), seed, pinned: None }
    }

    /// With one credential and no other, where one is given.
    pub(crate) fn pinned_to(self, pinned: Option<CredentialId>) -> Self {
        Self { pinned, ..self }
    }

    /// The attempt to make now, or `None` when the candidates are used up.
    pub(crate) fn next<'a>(&mut self, candidates: &'a [PricedCandidate]) -> Option<NextAttempt<'a>> {
        loop {
            let priced = candidates.get(self.candidate)?;
            let provider = &priced.candidate.provider;
            let credential = self.credential(provider);
            if credential.is_none() && !provider.credentials.is_empty() {
                self.candidate += 1;
                continue;
            }
            self.n_attempts += 1;
            return Some(NextAttempt { candidate: self.candidate, credential });
        }
    }

    /// The candidate just given cannot be asked now: on to the next one, as if it had not been given.
    pub(crate) fn pass_over(&mut self) {
        self.n_attempts = self.n_attempts.saturating_sub(1);
        self.candidate += 1;
    }

    /// Weighted choice among the credentials that were not refused, by the request's own seed.
    fn credential<'a>(&self, provider: &'a ProviderPolicy) -> Option<&'a CredentialPolicy> {
        let usable = || {
            provider
                .credentials
                .iter()
                .filter(|credential| self.pinned.is_none_or(|pinned| pinned == credential.id))
                .filter(|credential| !self.refused_credentials.contains(&credential.id))
        };
        let total: u64 = usable().map(|credential| u64::from(credential.weight)).sum();
        let mut at = self.seed.checked_rem(total)?;
        usable().find(|credential| {
            let weight = u64::from(credential.weight);
            let is_here = at < weight;
            at = at.saturating_sub(weight);
            is_here
        })
    }

    /// Decides after a failure: another credential, another candidate, the same one again, or no more.
    pub(crate) fn after_failure(
        &mut self,
        outcome: AttemptOutcome,
        credential: Option<CredentialId>,
        candidates: &[PricedCandidate],
        retry: &RetryPolicy,
    ) -> AfterFailure {
        if self.n_attempts >= retry.max_attempts && !is_credential_matter(outcome) {
            return AfterFailure::GiveUp;
        }
        if !is_credential_matter(outcome) && !class_of(outcome).is_some_and(|class| retry.on.contains(&class))
        {
            return AfterFailure::GiveUp;
        }
        let provider = candidates.get(self.candidate).map(|priced| &priced.candidate.provider);
        if let (Some(provider), Some(credential)) = (provider, credential)
            && matches!(outcome, AttemptOutcome::RateLimited | AttemptOutcome::CredentialRefused)
        {
            self.refused_credentials.push(credential);
            if self.credential(provider).is_some() {
                return AfterFailure::TryAgain(Duration::ZERO);
            }
        }
        if self.candidate + 1 < candidates.len() {
            self.candidate += 1;
            return AfterFailure::TryAgain(Duration::ZERO);
        }
        if is_credential_matter(outcome) || outcome == AttemptOutcome::RateLimited {
            return AfterFailure::GiveUp;
        }
        AfterFailure::TryAgain(self.backoff(retry))
    }

    /// Exponential, jittered by the request's seed between half and the whole.
    fn backoff(&self, retry: &RetryPolicy) -> Duration {
        let doublings = self.n_attempts.saturating_sub(1).min(10);
        let whole = Duration::from_millis(retry.backoff_ms.saturating_mul(1 << doublings)).min(MAX_BACKOFF);
        let share = u32::try_from(self.seed.rotate_left(self.n_attempts) % 128).unwrap_or(0);
        whole / 2 + whole * share / 256
    }
}

fn is_credential_matter(outcome: AttemptOutcome) -> bool {
    outcome == AttemptOutcome::CredentialRefused
}

fn class_of(outcome: AttemptOutcome) -> Option<RetryOn> {
    match outcome {
        AttemptOutcome::ConnectFailed => Some(RetryOn::Connect),
        AttemptOutcome::Timeout => Some(RetryOn::Timeout),
        AttemptOutcome::RateLimited => Some(RetryOn::RateLimited),
        AttemptOutcome::ServerError | AttemptOutcome::BadAnswer | AttemptOutcome::StreamBroken => {
            Some(RetryOn::ServerError)
        }
        AttemptOutcome::Ok
        | AttemptOutcome::Refused
        | AttemptOutcome::Cancelled
        | AttemptOutcome::CredentialRefused => None,
    }
}

#[cfg(test)]
mod tests;
