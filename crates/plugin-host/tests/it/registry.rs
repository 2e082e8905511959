//! Tests plugins that are added, changed and removed while the host runs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::guests::{folder, incident, moody, open, seen};
use anomalyzer_domain::{Allowance, Approver, Mode, Origin, PluginChangeKind};
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

/// Builds a detector with a name.
fn named(name: &str) -> Vec<u8> {
    Detector {
        name,
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
        effect: None,
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
fn equal_uploads_at_a_time_end_with_one_version_and_one_answer() {
    const UPLOADS: usize = 8;
    for live in [true, false] {
        let (_dir, config) = kept(&[]);
        let plugins = Plugins::load(config.clone()).unwrap();
        let bytes = guest::action("drain");
        let begin = std::sync::Barrier::new(UPLOADS);
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let send = || {
                let examined = plugins.examine(bytes.clone(), None).unwrap();
                begin.wait();
                let view = plugins.install(examined, &upload(), live).unwrap();
                serde_json::to_value(view).unwrap()
            };
            let sent: Vec<_> = (0..UPLOADS).map(|_| scope.spawn(send)).collect();
            let answers = sent.into_iter().map(|sent| sent.join().unwrap());
            answers.collect()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(plugins.view("drain").unwrap().versions.len(), 1);
        let change = match live {
            true => PluginChangeKind::Installed,
            false => PluginChangeKind::Stored,
        };
        assert_eq!(kinds(&plugins), [change]);
        drop(plugins);
        let again = Plugins::load(config).unwrap();
        let view = serde_json::to_value(again.view("drain").unwrap()).unwrap();
        assert_eq!(view["versions"], answers[0]["versions"]);
        assert_eq!(again.has_action("drain"), live);
    }
}

#[test]
fn an_upload_while_the_stored_version_is_loaded_changes_nothing() {
    let (_dir, config) = kept(&[]);
    let versions = {
        let plugins = Plugins::load(config.clone()).unwrap();
        install(&plugins, guest::action("drain")).unwrap();
        plugins.view("drain").unwrap().versions
    };
    let plugins = Plugins::open(config).unwrap();
    let never = CancellationToken::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for pending in plugins.take_pending() {
                plugins.load_pending(&pending, &never);
            }
            plugins.finish_start(&never);
        });
        for _ in 0..4 {
            scope.spawn(|| install(&plugins, guest::action("drain")).unwrap());
        }
    });
    assert!(plugins.has_action("drain"));
    assert_eq!(plugins.view("drain").unwrap().versions, versions);
    assert_eq!(kinds(&plugins), [], "nothing happened");
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

/// Returns other bytes of the action `drain`, by an empty custom section with `edition` as content.
fn drain(edition: u8) -> Vec<u8> {
    let mut bytes = guest::action("drain");
    bytes.extend([0, 3, 1, b'v', edition]);
    bytes
}

fn by(name: &str) -> Origin {
    Origin::Upload {
        by: name.to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

/// Uploads bytes in the name of someone who may not decide what runs.
fn candidate(plugins: &Plugins, who: &str, bytes: Vec<u8>) -> Result<(), ManageError> {
    let cancel = CancellationToken::new();
    plugins
        .examine_for(Some(who), bytes, None, &cancel)
        .and_then(|examined| plugins.install(examined, &by(who), false))
        .map(drop)
}

fn digest_of(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}

fn live_digest(plugins: &Plugins, name: &str) -> Option<String> {
    let view = plugins.view(name)?;
    view.info.error.is_none().then_some(view.info.digest)
}

#[test]
fn a_version_that_nobody_approved_never_goes_live_by_itself() {
    // Each way in which the live version goes: its file while the host runs, its file between two
    // starts, and its file after the uploader sent the bytes of the file too.
    for (name, between_starts, sent_too) in [
        ("running", false, false),
        ("between starts", true, false),
        ("same bytes", false, true),
    ] {
        let (dir, config) = kept(&[("drain.wasm", drain(1))]);
        let mut plugins = Plugins::load(config.clone()).unwrap();
        if sent_too {
            candidate(&plugins, "eve", drain(1)).unwrap();
        }
        candidate(&plugins, "eve", drain(6)).unwrap();
        assert_eq!(live_digest(&plugins, "drain"), Some(digest_of(&drain(1))));
        fs::remove_file(dir.path().join("drain.wasm")).unwrap();
        if between_starts {
            drop(plugins);
            plugins = Plugins::load(config.clone()).unwrap();
        } else {
            pass(&plugins);
        }
        assert!(!plugins.has_action("drain"), "{name}");
        assert_eq!(plugins.health().broken, [""; 0], "{name}");
        let versions = plugins.view("drain").unwrap().versions;
        assert_eq!(versions.len(), 1, "the candidate waits: {name}");
        let digest = versions[0].digest.clone();
        plugins.revert("drain", Some(&digest), "ada").unwrap();
        assert!(plugins.has_action("drain"), "{name}");
    }
}

#[test]
fn an_approver_is_on_record_for_every_live_version() {
    let (_dir, config) = kept(&[("drain.wasm", drain(1))]);
    let plugins = Plugins::load(config.clone()).unwrap();
    candidate(&plugins, "eve", drain(2)).unwrap();
    install(&plugins, guest::action("other")).unwrap();
    let second = digest_of(&drain(2));
    plugins.revert("drain", Some(&second), "bob").unwrap();
    drop(plugins);
    let plugins = Plugins::load(config).unwrap();
    let approvers = |name: &str| -> Vec<_> {
        let versions = plugins.view(name).unwrap().versions;
        versions.into_iter().map(|it| it.approved_by).collect()
    };
    let admin = |by: &str| Some(Approver::Admin { by: by.to_owned() });
    let file = "drain.wasm".to_owned();
    assert_eq!(
        approvers("drain"),
        [Some(Approver::Folder { file }), admin("bob")]
    );
    assert_eq!(approvers("other"), [admin("ada")]);
    assert!(plugins.view("drain").unwrap().has_known_approver());
}

#[test]
fn uploads_change_neither_what_revert_means_nor_what_can_be_reverted_to() {
    let (_dir, mut config) = kept(&[]);
    config.keep_versions = 3;
    let plugins = Plugins::load(config).unwrap();
    for edition in [1, 2] {
        install(&plugins, drain(edition)).unwrap();
    }
    let before = plugins.view("drain").unwrap().versions;
    for edition in [6, 2, 1, 7, 8, 2, 9, 10, 11, 12, 13, 14, 15] {
        candidate(&plugins, "eve", drain(edition)).unwrap();
    }
    let versions = plugins.view("drain").unwrap().versions;
    assert_eq!(versions[..2], before[..], "order, origin and time stay");
    assert_eq!(versions.len(), 2 + 3, "{versions:?}");
    let reverted = plugins.revert("drain", None, "ada").unwrap();
    assert_eq!(reverted.info.digest, digest_of(&drain(1)));
}

#[test]
fn candidates_have_quotas_by_plugin_by_uploader_and_in_bytes() {
    let (_dir, mut config) = kept(&[]);
    let size = drain(1).len() as u64;
    config.candidates.per_plugin = 2;
    config.candidates.plugins_per_uploader = 2;
    config.candidates.bytes_per_uploader = 3 * size;
    config.store_bytes = 10 * size;
    let plugins = Plugins::load(config.clone()).unwrap();
    let refused = |who: &str, bytes: Vec<u8>| match candidate(&plugins, who, bytes) {
        Err(ManageError::Quota(why)) => why,
        other => panic!("{other:?}"),
    };
    for edition in [1, 2, 3] {
        candidate(&plugins, "eve", drain(edition)).unwrap();
    }
    let digests: Vec<String> = plugins
        .view("drain")
        .unwrap()
        .versions
        .into_iter()
        .map(|it| it.digest)
        .collect();
    assert_eq!(
        digests,
        [digest_of(&drain(2)), digest_of(&drain(3))],
        "an own one makes room"
    );
    candidate(&plugins, "bob", drain(4)).unwrap();
    let digest = digest_of(&drain(4));
    plugins.remove_candidate("drain", &digest, "ada").unwrap();
    candidate(&plugins, "eve", guest::action("second")).unwrap();
    assert!(refused("eve", guest::action("third")).contains("plugins_per_uploader"));
    let mut long = guest::action("second");
    long.extend([0, 0x84, 0x40, 1, b'v']);
    long.resize(long.len() + (0x40 << 7) + 4 - 2, 0);
    assert!(refused("eve", long).contains("bytes_per_uploader"));
    candidate(&plugins, "bob", guest::action("third")).unwrap();
    candidate(&plugins, "bob", guest::action("fourth")).unwrap();
    assert!(refused("zoe", guest::action("fifth")).contains("store_bytes"));
    let stored = plugins.health().store_bytes;
    assert!(stored > 4 * size && stored <= 10 * size / 2, "{stored}");
    for edition in 20..24 {
        install(&plugins, drain(edition)).unwrap();
    }
    let full = (24..40).find_map(|edition| install(&plugins, drain(edition)).err());
    assert!(matches!(full, Some(ManageError::Quota(_))), "{full:?}");
    let on_disk: u64 = fs::read_dir(config.store.unwrap())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|it| it == "wasm"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(
        on_disk,
        plugins.health().store_bytes,
        "what was refused left nothing"
    );
}

#[test]
fn an_update_of_the_folder_goes_live_also_if_an_uploader_sent_its_bytes_before() {
    let (dir, config) = kept(&[("drain.wasm", drain(1))]);
    let mut plugins = Plugins::load(config.clone()).unwrap();
    for (edition, at_start) in [(2, true), (3, false)] {
        candidate(&plugins, "eve", drain(edition)).unwrap();
        if at_start {
            drop(plugins);
            put(dir.path(), "drain.wasm", &drain(edition));
            plugins = Plugins::load(config.clone()).unwrap();
        } else {
            put(dir.path(), "drain.wasm", &drain(edition));
            pass(&plugins);
        }
        let live = live_digest(&plugins, "drain");
        assert_eq!(live, Some(digest_of(&drain(edition))), "{at_start}");
        assert!(plugins.view("drain").unwrap().has_known_approver());
    }
}

#[test]
fn candidates_of_one_uploader_keep_no_name_and_no_place_from_others() {
    let (dir, config) = kept(&[]);
    let plugins = Plugins::load(config).unwrap();
    // An action of the name of the detector that comes later.
    candidate(&plugins, "eve", guest::action("moody")).unwrap();
    assert!(matches!(
        candidate(&plugins, "bob", build(1)),
        Err(ManageError::Conflict(_))
    ));
    install(&plugins, build(1)).unwrap();
    assert_eq!(edition(&plugins, "moody").as_deref(), Some("edition 1"));
    candidate(&plugins, "eve", guest::action("moody")).unwrap_err();
    candidate(&plugins, "eve", guest::action("tidy")).unwrap();
    put(dir.path(), "tidy.wasm", &named("tidy"));
    pass(&plugins);
    assert!(plugins.has_detector("tidy"));

    for edition in 1..=3 {
        candidate(&plugins, "eve", drain(edition)).unwrap();
    }
    candidate(&plugins, "bob", drain(4)).unwrap();
    let short = &digest_of(&drain(2))[..12];
    plugins.remove_candidate("drain", short, "ada").unwrap();
    assert!(matches!(
        plugins.remove_candidate("drain", short, "ada"),
        Err(ManageError::Conflict(_))
    ));
    assert_eq!(plugins.view("drain").unwrap().versions.len(), 3);
    install(&plugins, drain(5)).unwrap();
    let live = digest_of(&drain(5));
    assert!(matches!(
        plugins.remove_candidate("drain", &live, "ada"),
        Err(ManageError::Conflict(_))
    ));
    candidate(&plugins, "bob", guest::action("single")).unwrap();
    let single = digest_of(&guest::action("single"));
    plugins.remove_candidate("single", &single, "ada").unwrap();
    assert!(plugins.view("single").is_none());
}

#[test]
fn signatures_and_keys_are_checked_at_every_start_and_when_the_keys_change() {
    use minisign::KeyPair;

    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let sign = |bytes: &[u8]| {
        let signature = minisign::sign(None, &pair.sk, bytes, None, None);
        signature.unwrap().into_string()
    };
    let (_dir, mut config) = kept(&[]);
    let trusted = config.store.clone().unwrap().join("trusted");
    fs::create_dir_all(&trusted).unwrap();
    let public = pair.pk.to_box().unwrap().into_string();
    put(&trusted, "ada.pub", public.as_bytes());
    {
        let plugins = Plugins::load(config.clone()).unwrap();
        install(&plugins, drain(1)).unwrap();
        let examined = plugins.examine(drain(2), Some(&sign(&drain(2)))).unwrap();
        plugins.install(examined, &upload(), true).unwrap();
        install(&plugins, guest::action("unsigned")).unwrap();
    }
    config.require_signature = true;
    let plugins = Plugins::load(config.clone()).unwrap();
    assert!(plugins.has_action("drain") && !plugins.has_action("unsigned"));
    assert!(plugins.health().broken[0].contains("require_signature"));
    let back = plugins.revert("drain", None, "ada").unwrap_err();
    assert!(back.to_string().contains("require_signature"), "{back}");

    fs::remove_file(trusted.join("ada.pub")).unwrap();
    plugins.look();
    assert!(
        !plugins.has_action("drain"),
        "the key went while the host runs"
    );
    put(&trusted, "ada.pub", public.as_bytes());
    plugins.look();
    assert!(plugins.has_action("drain"), "the key is back");
    drop(plugins);

    fs::remove_file(trusted.join("ada.pub")).unwrap();
    config.require_signature = false;
    let plugins = Plugins::load(config).unwrap();
    assert!(
        !plugins.has_action("drain"),
        "the key went between two starts"
    );
    let error = plugins.view("drain").unwrap().info.error.unwrap();
    assert!(error.contains("not trusted"), "{error}");
    assert!(plugins.has_action("unsigned"));
}

#[test]
fn a_store_of_an_earlier_release_goes_on_with_what_was_live() {
    let (_dir, config) = kept(&[]);
    let store = config.store.clone().unwrap();
    let versions: Vec<_> = [(1, "ada"), (6, "eve"), (2, "ada")]
        .map(|(edition, who)| {
            let (bytes, digest) = (drain(edition), digest_of(&drain(edition)));
            fs::create_dir_all(&store).unwrap();
            fs::write(store.join(format!("{digest}.wasm")), &bytes).unwrap();
            json!({ "digest": digest, "version": "0.1.0", "size": bytes.len(), "at": 1,
                    "origin": { "door": "upload", "by": who, "address": "" } })
        })
        .into();
    let record = json!({ "name": "drain", "kind": "action", "active": versions[2]["digest"], "versions": versions });
    fs::write(store.join("drain.json"), record.to_string()).unwrap();
    let plugins = Plugins::open(config.clone()).unwrap();
    assert_eq!(plugins.upgraded(), ["drain"]);
    plugins.approve_earlier("drain", &[digest_of(&drain(1)), digest_of(&drain(2))]);
    drop(plugins);
    let plugins = Plugins::load(config).unwrap();
    assert_eq!(plugins.upgraded(), [""; 0], "it is on record now");
    assert_eq!(live_digest(&plugins, "drain"), Some(digest_of(&drain(2))));
    assert!(!plugins.view("drain").unwrap().has_known_approver());
    plugins.revert("drain", None, "bob").unwrap();
    assert_eq!(live_digest(&plugins, "drain"), Some(digest_of(&drain(1))));
    plugins.revert("drain", None, "bob").unwrap_err();
}

#[test]
fn a_pipe_in_place_of_a_signature_a_plugin_or_a_key_blocks_nobody() {
    let (dir, config) = kept(&[
        ("moody.wasm", build(1)),
        ("other.wasm", guest::action("other")),
    ]);
    let pipe = |name: &str| {
        let made = std::process::Command::new("mkfifo")
            .arg(dir.path().join(name))
            .status();
        assert!(made.unwrap().success());
    };
    pipe("moody.wasm.minisig");
    pipe("pipe.wasm");
    let plugins = Plugins::load(config.clone()).unwrap();
    assert!(plugins.has_action("other") && !plugins.has_detector("moody"));
    let broken = plugins.health().broken;
    assert!(
        broken[0].contains("no regular file") && broken[0].contains("minisig"),
        "{broken:?}"
    );
    fs::create_dir_all(config.store.clone().unwrap().join("trusted")).unwrap();
    pipe("store/trusted/eve.pub");
    let error = Plugins::load(config).err().unwrap().to_string();
    assert!(
        error.contains("eve.pub") && error.contains("no regular file"),
        "{error}"
    );
}

#[test]
fn the_name_of_a_plugin_is_no_option() {
    let (_dir, config) = kept(&[]);
    let plugins = Plugins::load(config).unwrap();
    for name in ["--help", "-rf", "-", "a-"] {
        let error = install(&plugins, guest::action(name)).unwrap_err();
        assert!(error.to_string().contains("it calls itself"), "{error}");
    }
    assert!(install(&plugins, guest::action("a-b")).is_ok());
}

#[tokio::test]
async fn a_caller_waits_for_its_own_plugin_while_the_others_load() {
    let (_dir, config) = kept(&[
        ("moody.wasm", build(1)),
        ("other.wasm", guest::action("other")),
    ]);
    let plugins = Plugins::open(config).unwrap();
    assert_eq!((plugins.loading(), plugins.list().len()), (3, 0));
    assert_eq!(plugins.health().broken, [""; 0], "loading is no defect");
    let settings = json!({});
    let mut opened = Box::pin(plugins.detector("moody", &settings));
    let mut missing = Box::pin(plugins.detector("nobody", &settings));
    for future in [&mut opened, &mut missing] {
        let waits = tokio::time::timeout(std::time::Duration::ZERO, future.as_mut()).await;
        assert!(waits.is_err(), "it waits");
    }
    let never = CancellationToken::new();
    let pending = plugins.take_pending();
    plugins.load_pending(&pending[0], &never);
    assert!(opened.await.is_ok(), "the other one is still loading");
    plugins.load_pending(&pending[1], &never);
    plugins.finish_start(&never);
    let error = missing.await.err().unwrap();
    assert!(matches!(error, PluginError::NotFound { .. }), "{error}");
    assert_eq!(plugins.loading(), 0);
}

/// Lets runs of the action `drain` fault until it is quarantined.
async fn quarantine(plugins: &Plugins) {
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
}

#[tokio::test]
async fn a_quarantine_that_can_not_be_stored_counts_once_and_is_stored_later() {
    let (_dir, config) = kept(&[]);
    let store = config.store.clone().unwrap();
    let plugins = Plugins::load(config.clone()).unwrap();
    install(&plugins, drain(1)).unwrap();
    let _ = plugins.changes();
    quarantine(&plugins).await;
    // Nothing can be written where there is no folder.
    let aside = store.with_extension("aside");
    fs::rename(&store, &aside).unwrap();
    for _ in 0..3 {
        plugins.look();
    }
    assert_eq!(kinds(&plugins), [PluginChangeKind::Quarantined]);
    let is_quarantined = async || {
        let opened = plugins.action("drain", incident(), &json!({})).await;
        matches!(opened.err(), Some(PluginError::PluginQuarantined { .. }))
    };
    let lifted = plugins.lift("drain", "ada");
    assert!(matches!(lifted, Err(ManageError::Store(_))), "{lifted:?}");
    assert!(
        is_quarantined().await,
        "what can't be recorded changes nothing"
    );
    assert!(matches!(
        plugins.lift("nobody", "ada"),
        Err(ManageError::NotFound(_))
    ));
    fs::rename(&aside, &store).unwrap();
    plugins.look();
    let stored = fs::read_to_string(store.join("drain.json")).unwrap();
    assert!(stored.contains("\"quarantine\""), "{stored}");
    plugins.lift("drain", "ada").unwrap();
    plugins.look();
    assert!(!is_quarantined().await);
    assert_eq!(kinds(&plugins), [PluginChangeKind::Lifted]);
}

#[tokio::test]
async fn an_action_whose_runs_fault_again_and_again_is_quarantined_and_a_new_version_gets_another_chance()
 {
    let (_dir, config) = kept(&[]);
    let plugins = Plugins::load(config).unwrap();
    install(&plugins, guest::action("drain")).unwrap();
    quarantine(&plugins).await;
    let error = plugins
        .action("drain", incident(), &json!({}))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, PluginError::PluginQuarantined { .. }),
        "{error}"
    );
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
