//! Operations and targets in words.

use std::fmt;

use crate::{Operation, Target};

/// Writes `cluster/namespace/kind/name`. The namespace is empty for kinds without namespaces.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.cluster, self.namespace, self.kind, self.name
        )
    }
}

/// Returns an operation in words for a person.
pub fn in_words(operation: &Operation) -> String {
    match operation {
        Operation::Inspect(target) => format!("inspecting {target}"),
        Operation::ReadLogs(request) => {
            let run = if request.previous {
                " of the run before"
            } else {
                ""
            };
            format!("reading the log{run} of {}", request.target)
        }
        Operation::Query(query) => format!("the query `{query}`"),
        Operation::Scale(scale) => format!("scaling {} to {}", scale.target, scale.replicas),
        Operation::Restart(target) => format!("restarting {target}"),
        Operation::RollBack(target) => format!("rolling back {target}"),
        Operation::Patch(patch) => format!("patching {}", patch.target),
        Operation::Http(request) => format!("{} {}", request.method, request.url),
        Operation::Notify(notice) => format!("notifying the channel `{}`", notice.channel),
        Operation::Custom(custom) => format!("`{}`", custom.name),
    }
}
