//! Sources of facts.

use serde::{Deserialize, Serialize};

/// Source of a fact, in the order of trust in its call counts. Two sources of one edge see the same
/// calls, so the counts of the first one that has counts are used and never summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Istio: proxies count every request.
    Istio,
    /// Linkerd: proxies count every request whose peer they know.
    Linkerd,
    /// Service graph of OpenTelemetry, Tempo or Beyla. Sampled traces make counts relative.
    ServiceGraph,
    /// Cilium Hubble.
    Hubble,
    /// Agent of Coroot. It counts connections, not requests.
    Coroot,
    /// Kubernetes objects: owner references, node names, volumes, selectors.
    Kubernetes,
    /// Process groups of this machine.
    Local,
    /// The operator's configuration. It is believed and never ages.
    Configuration,
    /// Import of a catalogue such as Backstage, which is often stale.
    Import,
}

impl Source {
    /// Returns true if facts of this source age.
    pub fn ages(self) -> bool {
        self != Self::Configuration
    }
}
