//! Candidate actions for a target: the solutions that an analyst may propose for it.

use std::collections::HashSet;
use std::sync::Arc;

use super::capability::Capabilities;
use super::grants;
use anomalyzer_diagnose::Offer;
use anomalyzer_domain::{Grant, solutions};
use anomalyzer_plugin_host::Plugins;

/// Configuration that decides which actions are candidates.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Grants of the configuration.
    pub grants: Vec<Grant>,
    /// Keys of the targets that `[[rate_limit]]` names.
    pub rate_limited: HashSet<String>,
    /// Targets that the configured operators handle.
    pub capabilities: Capabilities,
}

/// Returns a function that lists the candidate actions for a target at the moment of the call.
pub fn candidate_actions(candidates: Candidates, plugins: Plugins) -> Offer {
    let Candidates {
        grants: granted,
        rate_limited,
        capabilities,
    } = candidates;
    Arc::new(move |target| {
        let mut offered: Vec<String> = plugins
            .views()
            .into_iter()
            .filter(|view| {
                view.info.error.is_none()
                    && view.quarantine.is_none()
                    && plugins.has_action(&view.info.name)
            })
            // An action that needs operations and is granted none can do nothing. An action that
            // needs none is offered only if someone who may decide what runs is on record for it:
            // its name and its presence in the list speak to the model.
            .filter(|view| {
                let granted = || grants::in_force(&view.info.name, view.grants.clone(), &granted);
                let approved = view.info.needs.is_empty() && view.has_known_approver();
                approved || !granted().is_empty()
            })
            .filter(|view| capabilities.covers(target, &view.info.needs))
            .map(|view| view.info.name.replace('-', "_"))
            .filter(|name| name != solutions::RATE_LIMIT || rate_limited.contains(&target.key()))
            .filter(|name| {
                target.kind != "Metric"
                    || matches!(name.as_str(), solutions::ALARM | solutions::NO_ACTION)
            })
            .collect();
        offered.sort();
        offered
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use anomalyzer_domain::Target;
    use anomalyzer_plugin_host::PluginConfig;

    /// Returns the solutions that are offered, if the action `no-action`, which needs nothing, is
    /// live by this record of an uploader's version.
    fn offered(in_folder: bool, record: &Value) -> Vec<String> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
        let file = shipped.join("no-action.wasm");
        let bytes = fs::read(&file).unwrap();
        let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if in_folder {
            fs::write(folder.path().join("no-action.wasm"), &bytes).unwrap();
        }
        let config = PluginConfig {
            folder: folder.path().to_owned(),
            cache: Some(shipped.with_file_name("compiled")),
            ..PluginConfig::default()
        };
        let alone = Plugins::of_files([("it".to_owned(), file.as_path())], config.clone());
        let digest = alone.unwrap().list().remove(0).digest;
        fs::write(store.path().join(format!("{digest}.wasm")), &bytes).unwrap();
        let mut whole = json!({
            "name": "no-action", "kind": "action", "active": digest,
            "versions": [{ "digest": digest, "version": "0.1.0", "size": bytes.len(), "at": 1,
                           "origin": { "door": "upload", "by": "eve", "address": "" } }],
        });
        for (key, value) in record.as_object().unwrap() {
            whole[key] = value.clone();
        }
        fs::write(store.path().join("no-action.json"), whole.to_string()).unwrap();
        let plugins = Plugins::load(PluginConfig {
            store: Some(store.path().to_owned()),
            ..config
        })
        .unwrap();
        candidate_actions(Candidates::default(), plugins)(&Target::new("shop", "Deployment", "web"))
    }

    #[test]
    fn an_action_without_needs_is_offered_only_if_its_approver_or_a_grant_is_on_record() {
        let nothing: [&str; 0] = [];
        assert_eq!(
            offered(false, &json!({})),
            nothing,
            "an uploader made it live"
        );
        let candidate = json!({ "active": null, "has_approvers": true });
        assert_eq!(offered(false, &candidate), nothing, "nobody made it live");
        let granted = json!({ "grants": [{ "operation": "notify" }] });
        assert_eq!(offered(false, &granted), ["no_action"]);
        let shipped = json!({ "active": null, "versions": [] });
        assert_eq!(offered(true, &shipped), ["no_action"]);
    }
}
