//! Tests plugins that are added, changed and removed while the host runs.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::guests::{folder, incident, moody, open, seen};
use anomalyzer_domain::{Allowance, Mode, Origin, PluginChangeKind};
use anomalyzer_plugin_host::{ActionOutcome, ManageError, PluginConfig, PluginError, Plugins};
use anomalyzer_test_support::guest::{self, Detector};

/// Builds the moody detector, with other bytes for each `edition`.
fn build(edition: usize) -> Vec<u8> {
    let settings = format!(r#"{{"type":"object","title":"edition {edition}"}}"#);
    Detector {
        settings: &settings,
        ..Detector::default()
    }
    .build()
}

fn edition(plugins: &Plugins, name: &str) -> Option<String> {
    let view = plugins.view(name)?;
    view.info.error.is_none().then(|| {
        view.info.settings["title"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Does the work of the task that polls the folder, for a few seconds of that task.
fn pass(plugins: &Plugins) {
    for _ in 0..5 {
        for path in plugins.look() {
            plugins.take_file(&path);
        }
    }
}

fn kinds(plugins: &Plugins) -> Vec<PluginChangeKind> {
    plugins
        .changes()
        .into_iter()
        .map(|change| change.kind)
        .collect()
}

/// Makes a folder with `files`, and a configuration in which versions are kept.
fn kept(files: &[(&str, Vec<u8>)]) -> (TempDir, PluginConfig) {
    let (dir, mut config) = folder(files);
    config.store = Some(dir.path().join("store"));
    (dir, config)
}

fn upload() -> Origin {
    Origin::Upload {
        by: "ada".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

fn install(plugins: &Plugins, bytes: Vec<u8>) -> Result<(), ManageError> {
    plugins
        .examine(bytes, None)
        .and_then(|examined| plugins.install(examined, &upload(), true))
        .map(drop)
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap();
}

#[test]
fn a_file_that_appears_changes_and_goes_is_followed() {
    let (dir, config) = kept(&[]);
    let plugins = Plugins::load(config).unwrap();
    let generation = plugins.generation();
    put(dir.path(), "moody.wasm", &build(1));
    pass(&plugins);
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
    assert!(generation.has_changed().unwrap());
    put(dir.path(), "moody.wasm", &build(2));
    pass(&plugins);
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 2"));
    fs::rename(
        dir.path().join("moody.wasm"),
        dir.path().join("renamed.wasm"),
    )
    .unwrap();
    pass(&plugins);
    assert_eq!(plugins.view("moody").unwrap().info.file, "renamed.wasm");
    fs::remove_file(dir.path().join("renamed.wasm")).unwrap();
    pass(&plugins);
    assert!(!plugins.has_detector("moody") && plugins.list().is_empty());
    use PluginChangeKind::{Installed, Removed};
    assert_eq!(kinds(&plugins), [Installed, Installed, Removed]);
}

#[test]
fn a_broken_update_leaves_what_runs_in_place_and_is_told() {
    let (dir, config) = kept(&[("moody.wasm", build(1))]);
    let plugins = Plugins::load(config).unwrap();
    put(dir.path(), "moody.wasm", &build(2)[..500]);
    pass(&plugins);
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
    assert_eq!(
        plugins.health().broken.len(),
        1,
        "{:?}",
        plugins.health().broken
    );
    put(dir.path(), "moody.wasm", &build(3));
    pass(&plugins);
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 3"));
    assert_eq!(plugins.health().broken, [""; 0]);
}

#[test]
fn of_two_files_of_one_name_the_first_counts_until_it_goes() {
    let (dir, config) = kept(&[("a.wasm", build(1)), ("b.wasm", build(2))]);
    let plugins = Plugins::load(config).unwrap();
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
    assert!(
        plugins.health().broken[0].contains("taken by a.wasm"),
        "{:?}",
        plugins.health().broken
    );
    fs::remove_file(dir.path().join("a.wasm")).unwrap();
    pass(&plugins);
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 2"));
}

#[test]
fn an_upload_its_grants_and_its_mode_survive_a_restart() {
    let (_dir, config) = kept(&[]);
    let grants = vec![Allowance {
        operation: "scale".into(),
        scope: "Deployment".into(),
        namespaces: vec!["*".into()],
    }];
    {
        let plugins = Plugins::load(config.clone()).unwrap();
        install(&plugins, guest::action("drain")).unwrap();
        plugins
            .set_grants("drain", Some(grants.clone()), "ada")
            .unwrap();
        plugins.set_mode("drain", Mode::Approve, "ada").unwrap();
        use PluginChangeKind::{Granted, Installed, ModeSet};
        assert_eq!(kinds(&plugins), [Installed, Granted, ModeSet]);
    }
    let plugins = Plugins::load(config).unwrap();
    assert!(plugins.has_action("drain"));
    assert_eq!(
        plugins.standing("drain"),
        Some((Mode::Approve, Some(grants), None))
    );
    assert_eq!(kinds(&plugins), [], "nothing happened");
    plugins.remove("drain", "ada").unwrap();
    assert!(!plugins.has_action("drain"));
    assert!(matches!(
        plugins.remove("drain", "ada"),
        Err(ManageError::NotFound(_))
    ));
}

#[test]
fn going_back_is_one_call_and_stays_over_a_restart_until_the_file_changes() {
    let (dir, config) = kept(&[("moody.wasm", build(1))]);
    {
        let plugins = Plugins::load(config.clone()).unwrap();
        assert!(
            matches!(
                plugins.revert("moody", None, "ada"),
                Err(ManageError::Conflict(_))
            ),
            "there is none before"
        );
        put(dir.path(), "moody.wasm", &build(2));
        pass(&plugins);
        plugins.revert("moody", None, "ada").unwrap();
        assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
        pass(&plugins);
        assert_eq!(
            edition(&plugins, "moody").as_deref(),
            Some("edition 1"),
            "the file says nothing new"
        );
        let newest = plugins.view("moody").unwrap().versions[1].digest.clone();
        plugins.revert("moody", Some(&newest[..12]), "ada").unwrap();
        assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 2"));
        plugins.revert("moody", None, "ada").unwrap();
    }
    let plugins = Plugins::load(config).unwrap();
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
    put(dir.path(), "moody.wasm", &build(3));
    pass(&plugins);
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 3"));
}

#[test]
fn what_was_taken_out_of_the_folder_while_nothing_ran_is_gone_and_what_was_uploaded_is_not() {
    let (dir, config) = kept(&[("moody.wasm", build(1))]);
    {
        let plugins = Plugins::load(config.clone()).unwrap();
        install(&plugins, guest::action("drain")).unwrap();
    }
    fs::remove_file(dir.path().join("moody.wasm")).unwrap();
    let plugins = Plugins::load(config).unwrap();
    assert!(!plugins.has_detector("moody") && plugins.has_action("drain"));
    assert_eq!(kinds(&plugins), [PluginChangeKind::Removed]);
}

#[test]
fn bytes_on_the_shelf_that_were_changed_do_not_run() {
    let (_dir, config) = kept(&[]);
    let digest = {
        let plugins = Plugins::load(config.clone()).unwrap();
        install(&plugins, guest::action("drain")).unwrap();
        plugins.view("drain").unwrap().info.digest
    };
    let store = config.store.clone().unwrap();
    fs::write(store.join(format!("{digest}.wasm")), guest::action("other")).unwrap();
    let plugins = Plugins::load(config).unwrap();
    assert!(!plugins.has_action("drain"));
    let error = plugins.view("drain").unwrap().info.error.unwrap();
    assert!(error.contains("was changed"), "{error}");
}

#[test]
fn what_is_no_plugin_or_has_the_name_of_another_is_refused_and_nothing_is_stored() {
    let (dir, config) = kept(&[("moody.wasm", build(1))]);
    let plugins = Plugins::load(config).unwrap();
    let _ = plugins.changes();
    assert!(matches!(
        install(&plugins, b"nothing".to_vec()),
        Err(ManageError::Refused(_))
    ));
    let error = install(&plugins, guest::action("moody")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name `moody` is taken by a detector; give it another"
    );
    let error = install(&plugins, vec![0; 2 << 20]).unwrap_err();
    assert!(error.to_string().contains("max_component_bytes"), "{error}");
    let error = plugins.remove("moody", "ada").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("moody.wasm is in the plugin folder"),
        "{error}"
    );
    let stored = fs::read_dir(dir.path().join("store")).unwrap().count();
    assert_eq!(stored, 2, "moody's bytes and its record");
    assert_eq!(kinds(&plugins), []);
}

#[test]
fn what_is_not_to_be_live_waits_beside_what_is() {
    let (_dir, config) = kept(&[("moody.wasm", build(1))]);
    let plugins = Plugins::load(config).unwrap();
    let examined = plugins.examine(build(2), None).unwrap();
    let digest = examined.info().digest.clone();
    plugins.install(examined, &upload(), false).unwrap();
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
    plugins.revert("moody", Some(&digest), "admin").unwrap();
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 2"));
}

#[test]
fn where_signatures_are_required_only_what_a_trusted_key_signed_is_taken() {
    use minisign::KeyPair;

    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let sign = |bytes: &[u8]| {
        minisign::sign(None, &pair.sk, bytes, None, None)
            .unwrap()
            .into_string()
    };
    let (dir, mut config) = kept(&[("unsigned.wasm", build(1)), ("signed.wasm", build(2))]);
    put(
        dir.path(),
        "signed.wasm.minisig",
        sign(&build(2)).as_bytes(),
    );
    config.require_signature = true;
    let trusted = config.store.clone().unwrap().join("trusted");
    fs::create_dir_all(&trusted).unwrap();
    put(
        &trusted,
        "ada.pub",
        pair.pk.to_box().unwrap().into_string().as_bytes(),
    );
    let plugins = Plugins::load(config).unwrap();
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 2"));
    assert_eq!(
        plugins.view("moody").unwrap().versions[0]
            .signed_by
            .as_deref(),
        Some("ada")
    );
    assert!(
        plugins.health().broken[0].contains("require_signature"),
        "{:?}",
        plugins.health().broken
    );
    let bytes = guest::action("drain");
    assert!(plugins.examine(bytes.clone(), None).is_err());
    assert!(
        plugins
            .examine(bytes.clone(), Some(&sign(b"other")))
            .is_err()
    );
    assert!(plugins.examine(bytes.clone(), Some(&sign(&bytes))).is_ok());
}

#[tokio::test]
async fn an_action_whose_runs_fault_again_and_again_is_given_up_and_a_new_version_gets_another_chance()
 {
    let (_dir, config) = kept(&[]);
    let plugins = Plugins::load(config).unwrap();
    install(&plugins, guest::action("drain")).unwrap();
    for _ in 0..5 {
        let run = plugins
            .action("drain", incident(), &json!({}))
            .await
            .unwrap();
        assert!(
            run.next(0, ActionOutcome::Failed("no".to_owned()))
                .await
                .is_err()
        );
    }
    let error = plugins
        .action("drain", incident(), &json!({}))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, PluginError::GivenUp { .. }), "{error}");
    let mut other = guest::action("drain");
    // An empty custom section named `v` changes the bytes, but not the plugin.
    other.extend([0, 2, 1, b'v']);
    install(&plugins, other).unwrap();
    assert!(
        plugins
            .action("drain", incident(), &json!({}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn calls_and_memory_are_counted_by_plugin() {
    let plugins = moody();
    let handle = open(&plugins).await;
    seen(&handle).await;
    let stats = plugins.view("moody").unwrap().stats;
    assert!(stats.calls >= 3 && stats.p99_us.is_some(), "{stats:?}");
    assert_eq!((stats.instances, stats.memory_bytes), (1, 1 << 20));
    drop(handle);
}
