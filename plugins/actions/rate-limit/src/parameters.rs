//! Parameters: the operator configures the patch and the request, the analyst chooses the rate.

use std::collections::BTreeMap;

use anomalyzer_plugin_sdk::Target;
use anomalyzer_plugin_sdk::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

/// Way to limit traffic: a patch, a request, or both.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Patch of an object.
    pub patch: Option<Patch>,
    /// Request to send.
    pub http: Option<Http>,
    /// Rate that replaces `{rate}` in the strings of the patch and the request.
    pub requests_per_second: Option<f64>,
}

/// Merge patch (RFC 7396).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Object to patch. Often this is not the target itself but the ingress in front of it.
    pub target: PatchTarget,
    /// Content of the patch.
    pub patch: Value,
}

/// Object to patch.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchTarget {
    /// Cluster of the object.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Namespace of the object. Empty if the kind has no namespaces.
    #[serde(default)]
    pub namespace: String,
    /// Kind of the object: `Deployment`, `Process`, or `Kind.group`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

fn default_cluster() -> String {
    "default".to_owned()
}

impl From<PatchTarget> for Target {
    fn from(target: PatchTarget) -> Self {
        Self {
            cluster: target.cluster,
            namespace: target.namespace,
            kind: target.kind,
            name: target.name,
        }
    }
}

/// HTTP request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// HTTP method.
    #[serde(default = "default_method")]
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Headers by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body of the request. A string is sent unchanged, any other value as JSON.
    #[serde(default)]
    pub body: Option<Value>,
}

fn default_method() -> String {
    "POST".to_owned()
}
