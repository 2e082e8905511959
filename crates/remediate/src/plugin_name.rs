//! Name of the plugin that carries out a decision.

use anomalyzer_domain::Decision;

/// Returns the name of the plugin that carries out the decision's solution.
pub(super) fn plugin_name(decision: &Decision) -> String {
    decision.solution.replace('_', "-")
}
