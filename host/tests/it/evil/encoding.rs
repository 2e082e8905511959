//! Tests of core modules that are hard to make a component of, and of what refused bytes leave
//! behind. The child process does all of that work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anomalyzer_domain::Origin;
use anomalyzer_plugin_host::{Limits, ManageError, PluginConfig, Plugins};
use anomalyzer_test_support::guest::{self, Detector, SPIN};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{bomb, folder};

const PROGRAM: &str = env!("CARGO_BIN_EXE_anomalyzer");

/// Seed of the mutations. It is fixed, so that a failure can be reproduced.
const SEED: u64 = 14;
/// Number of modules with random mutations.
const MUTATIONS: usize = 24;

/// Returns a configuration with a child process, a cache and a store of its own.
fn config(files: &[(&str, Vec<u8>)]) -> (TempDir, PluginConfig) {
    let folder = folder(files);
    let config = PluginConfig {
        folder: folder.path().to_owned(),
        compiler: Some(PROGRAM.into()),
        cache: Some(folder.path().join("cache")),
        store: Some(folder.path().join("store")),
        limits: Limits {
            threads: 1,
            compile_cpu: Duration::from_secs(5),
            ..Limits::default()
        },
        ..PluginConfig::default()
    };
    (folder, config)
}

/// Returns the offset of the section that describes the component.
fn description_at(module: &[u8]) -> usize {
    let wanted = b"component-type";
    let mut found = module.windows(wanted.len());
    found.position(|bytes| bytes == wanted).unwrap()
}

/// Returns the module with each name of the contract's package changed by itself.
fn changed_names() -> Vec<Vec<u8>> {
    let module = guest::core_module("moody");
    let wanted = b"anomalyzer:plugin";
    let from = description_at(&module);
    let names = module[from..].windows(wanted.len()).enumerate();
    let places = names.filter(|(_, bytes)| bytes == wanted);
    places
        .map(|(at, _)| {
            let mut changed = module.clone();
            changed[from + at] = b'q';
            changed
        })
        .collect()
}

/// Returns the module with random bytes of the description changed.
fn mutated(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut module = guest::core_module("moody");
    let from = description_at(&module);
    for _ in 0..random.usize(1..4) {
        let at = random.usize(from..module.len());
        module[at] = random.u8(..);
    }
    module
}

/// Returns the module with its description many times over.
fn repeated(times: usize) -> Vec<u8> {
    let module = guest::core_module("moody");
    let described = wasmparser_section(&module);
    let mut all = module;
    for number in 0..times {
        let mut again = described.clone();
        // The name of the section differs, so that each is another world.
        let digits = format!("{number:05}");
        let at = again.len() - described.len() + description_at(&described);
        let name = at + b"component-type:".len();
        again[name..name + 5].copy_from_slice(digits.as_bytes());
        all.extend(again);
    }
    all
}

/// Returns the bytes of the section that describes the component, with its header.
fn wasmparser_section(module: &[u8]) -> Vec<u8> {
    let at = description_at(module);
    // A custom section is 0, its size, the size of its name, and its name.
    let header = (1..12).find(|back| module[at - back] == 0).unwrap();
    module[at - header..].to_vec()
}

#[test]
fn no_core_module_ends_the_host_or_keeps_another_plugin_from_loading() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut bad = changed_names();
    assert!(!bad.is_empty());
    bad.extend((0..MUTATIONS).map(|_| mutated(&mut random)));
    let names: Vec<String> = (0..bad.len())
        .map(|number| format!("bad-{number:02}"))
        .collect();
    let mut files: Vec<(&str, Vec<u8>)> =
        names.iter().map(String::as_str).zip(bad.clone()).collect();
    let good = Detector {
        name: "good",
        ..Detector::default()
    };
    files.push(("good", good.module()));
    let (_folder, config) = config(&files);
    let plugins = Plugins::load(config).unwrap();
    assert!(plugins.has_detector("good"), "{:?}", plugins.list());
    let refused = plugins.health().broken;
    assert!(
        refused.iter().any(|why| why.contains("nested too deeply")),
        "{refused:?}"
    );
    println!("{} of {} modules are refused", refused.len(), bad.len());
}

#[test]
fn an_encoding_that_takes_too_long_is_stopped_by_the_limit_of_processor_time() {
    let (_folder, config) = config(&[("many", repeated(12_000))]);
    let begun = Instant::now();
    let plugins = Plugins::load(config).unwrap();
    let error = plugins.list()[0].error.clone().unwrap();
    println!("{:?}: {error}", begun.elapsed());
    assert!(error.contains("is not a usable plugin"), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_start_runs_nothing_of_a_plugin_that_it_knows() {
    let module = Detector {
        name: "good",
        ..Detector::default()
    };
    let (_folder, mut config) = config(&[("good", module.module())]);
    let first = Plugins::load(config.clone()).unwrap();
    let known = first.list();
    assert_eq!(known[0].error, None);
    assert!(known[0].surface.as_ref().unwrap().core_module);
    drop(first);
    config.compiler = Some("/nowhere/at/all".into());
    assert_eq!(Plugins::load(config.clone()).unwrap().list(), known);

    // Code and components that were changed are not used.
    for part in ["code", "encoded"] {
        let cache = config.cache.clone().unwrap();
        let file = &files(&cache.join(part))[0];
        let before = fs::read(file).unwrap();
        fs::write(file, vec![0; before.len()]).unwrap();
        let plugins = Plugins::load(config.clone()).unwrap();
        let error = plugins.health().broken.concat();
        assert!(error.contains("can't be started"), "{part}: {error}");
        fs::write(file, before).unwrap();
        assert_eq!(
            Plugins::load(config.clone()).unwrap().health().broken,
            [""; 0]
        );
    }
}

/// Returns every file below a folder, without the statistics of the runtime.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_none_or(|it| it != "stats"))
        .collect();
    found.sort();
    found
}

fn eve() -> Origin {
    Origin::Upload {
        by: "eve".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

#[test]
fn refused_and_unapproved_uploads_leave_no_compiled_code_behind() {
    let (_folder, config) = config(&[]);
    let cache = config.cache.clone().unwrap();
    let plugins = Plugins::load(config).unwrap();
    let examine =
        |bytes: Vec<u8>| plugins.examine_for(Some("eve"), bytes, None, &CancellationToken::new());
    let bad_name = Detector {
        name: "BAD",
        ..Detector::default()
    };
    let spins = Detector {
        describe: "(unreachable)",
        ..Detector::default()
    };
    for bad in [
        bad_name.build(),
        bad_name.module(),
        spins.build(),
        changed_names()[0].clone(),
    ] {
        assert!(matches!(examine(bad), Err(ManageError::Refused(_))));
        let left = files(&cache);
        assert!(
            left.iter()
                .all(|path| path.starts_with(cache.join("refused"))),
            "{left:?}"
        );
    }
    let good = examine(Detector::default().module()).unwrap();
    let digest = good.info().digest.clone();
    plugins.install(good, &eve(), false).unwrap();
    assert_eq!(files(&cache.join("code")).len(), 0, "nobody approved it");
    plugins.revert("moody", Some(&digest), "ada").unwrap();
    assert!(plugins.has_detector("moody"));
    assert_eq!(files(&cache.join("code")).len(), 1);
    assert!(plugins.health().cache_bytes > 0);
}

/// Returns the paths below a folder that others have rights on, and the number of all files.
fn open_to_others(folder: &Path) -> (Vec<PathBuf>, usize) {
    let (mut open, mut count, mut folders) = (Vec::new(), 0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.permissions().mode() & 0o077 != 0 {
                open.push(entry.path());
            }
            match metadata.is_dir() {
                true => folders.push(entry.path()),
                false => count += 1,
            }
        }
    }
    (open, count)
}

#[test]
fn nobody_else_can_read_the_compiled_code() {
    let (_folder, config) = config(&[]);
    let cache = config.cache.clone().unwrap();
    // An earlier version left this folder open to others.
    fs::create_dir_all(cache.join("code")).unwrap();
    let plugins = Plugins::load(config).unwrap();
    let bytes = Detector::default().build();
    let good = plugins.examine_for(None, bytes, None, &CancellationToken::new());
    plugins.install(good.unwrap(), &eve(), true).unwrap();
    // The code, its statistics and the entry of the index. The runtime writes the statistics later.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        plugins.look();
        let (open, count) = open_to_others(&cache);
        if open.is_empty() && count >= 3 {
            return;
        }
        assert!(Instant::now() < deadline, "{count} files, {open:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn compiled_code_has_a_bound_and_what_was_not_used_for_longest_goes() {
    let (_folder, mut config) = config(&[]);
    config.cache_bytes = 1;
    let cache = config.cache.clone().unwrap();
    let plugins = Plugins::load(config).unwrap();
    for name in ["first", "second"] {
        let detector = Detector {
            name,
            ..Detector::default()
        };
        let examined = plugins.examine(detector.build(), None).unwrap();
        plugins.install(examined, &eve(), true).unwrap();
        assert!(plugins.has_detector(name));
        assert_eq!(files(&cache.join("code")).len(), 1, "the newest stays");
    }
}

#[test]
fn an_examination_ends_when_its_caller_goes_away() {
    let (_folder, mut config) = config(&[]);
    config.limits.compile_cpu = Duration::from_secs(600);
    let plugins = Plugins::load(config).unwrap();
    let (begun, cancel) = (Instant::now(), CancellationToken::new());
    std::thread::scope(|scope| {
        let bomb = bomb::giant_function(1200, 1200);
        let first = scope.spawn(|| plugins.examine_for(Some("eve"), bomb, None, &cancel));
        let waits = Detector {
            start: SPIN,
            ..Detector::default()
        };
        let waits = waits.build();
        let second = scope.spawn(|| plugins.examine_for(Some("bob"), waits, None, &cancel));
        // Someone else has a queue of its own.
        let good = plugins.examine(Detector::default().build(), None);
        assert!(good.is_ok());
        cancel.cancel();
        for examined in [first, second] {
            assert!(examined.join().unwrap().is_err());
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
}
