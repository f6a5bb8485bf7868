//! Six faults that a proof of the ledger must notice, to be switched on in tests: who claims that the promise
//! is checked shows that the check fails for these.
//!
//! Only with the feature `mutants`, which the binary refuses to be built with. Without it [`active`] is a
//! constant and nothing of this remains.

/// One fault, in both backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// State that is missing counts as a full budget, instead of as unknown.
    MissingIsFull,
    /// A hold whose lease ended is released, instead of being suspect.
    ExpiredIsReleased,
    /// Only the first level is checked.
    FirstLevelOnly,
    /// What is held is not looked at.
    HoldsIgnored,
    /// A settled hold leaves no tombstone.
    NoTombstone,
    /// A state of another run or epoch is taken for the present one.
    NoFence,
}

impl Mutant {
    /// All six.
    pub const ALL: [Self; 6] = [
        Self::MissingIsFull,
        Self::ExpiredIsReleased,
        Self::FirstLevelOnly,
        Self::HoldsIgnored,
        Self::NoTombstone,
        Self::NoFence,
    ];
}

/// Whether this is a build that can be made faulty.
pub const IS_POSSIBLE: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
static ACTIVE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Makes every ledger of this process faulty, or whole again.
#[cfg(feature = "mutants")]
pub fn activate(mutant: Option<Mutant>) {
    let index = mutant.and_then(|mutant| Mutant::ALL.iter().position(|one| *one == mutant));
    ACTIVE.store(index.map_or(0, |index| index + 1), std::sync::atomic::Ordering::SeqCst);
}

/// The fault that was activated.
#[cfg(feature = "mutants")]
#[must_use]
pub fn active() -> Option<Mutant> {
    let index = ACTIVE.load(std::sync::atomic::Ordering::SeqCst).checked_sub(1)?;
    Mutant::ALL.get(index).copied()
}

/// None: this build is whole.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn active() -> Option<Mutant> {
    None
}

/// Whether this fault is active.
pub(crate) fn is(mutant: Mutant) -> bool {
    active() == Some(mutant)
}
