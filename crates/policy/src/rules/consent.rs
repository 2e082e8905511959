//! Consent of people to an operation.

use crate::{Facts, Foreign, Policy, Source};

/// Returns true if a person approved exactly this operation and the approval is still valid.
pub(super) fn approved(facts: &Facts) -> bool {
    facts
        .approved
        .as_ref()
        .is_some_and(|approved| facts.now <= approved.expires_at)
}

/// Returns true if a person wants this operation and has checked the situation. Either a person
/// requested it, or each of its operations is shown to a person and waits for approval.
pub(super) fn a_person_wants_it(facts: &Facts, policy: &Policy) -> bool {
    match facts.source {
        Source::Person => true,
        Source::Foreign => policy.foreign == Foreign::Hold,
        Source::Engine => false,
    }
}
