//! Tests of bytes that are hard to compile, and of the child process that compiles them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anomalyzer_plugin_host::{Limits, PluginConfig, Plugins};

use super::{bomb, component, folder};

const PROGRAM: &str = env!("CARGO_BIN_EXE_anomalyzer");

fn config(files: &[(&str, Vec<u8>)], mut limits: Limits) -> (tempfile::TempDir, PluginConfig) {
    let folder = folder(files);
    limits.threads = 1;
    let config = PluginConfig {
        folder: folder.path().to_owned(),
        compiler: Some(PROGRAM.into()),
        limits,
        ..PluginConfig::default()
    };
    (folder, config)
}

/// Loads an unusable file beside a usable one, and returns the error of the unusable file.
fn refused(bytes: Vec<u8>, limits: Limits) -> String {
    let (_folder, mut config) = config(
        &[("bad", bytes), ("detector", component("detector"))],
        limits,
    );
    // Do not use the cache of the other tests, because refusals are remembered in the cache.
    let cache = tempfile::tempdir().unwrap();
    config.cache = Some(cache.path().into());
    let plugins = Plugins::load(config.clone()).unwrap();
    assert!(
        plugins.has_detector("evil-detector"),
        "the good file beside it is loaded: {:?}",
        plugins.list()
    );
    let error = plugins.list()[0].error.clone().unwrap();
    // If the machine was too busy to reach the limit in time, the file is not to blame.
    if error.contains("plugins.limits") && !error.contains("the machine is busy") {
        // The next start knows the refusal and needs no child process.
        config.compiler = Some("/nowhere/at/all".into());
        assert_eq!(
            Plugins::load(config.clone()).unwrap().list()[0]
                .error
                .as_ref(),
            Some(&error)
        );
        config.limits.compile_cpu *= 2;
        let error = Plugins::load(config).unwrap().list()[0]
            .error
            .clone()
            .unwrap();
        assert!(
            error.contains("can't be started"),
            "with a higher limit it is tried again: {error}"
        );
    }
    error
}

/// Returns every file of compiled code below a cache folder, with its inode number.
fn code(cache: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for compiler in fs::read_dir(cache.join("code/modules")).unwrap() {
        for file in fs::read_dir(compiler.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none() {
                found.push((path.clone(), fs::metadata(&path).unwrap().ino()));
            }
        }
    }
    found
}

#[test]
fn what_a_child_compiled_is_found_in_the_cache_and_the_next_start_needs_no_child() {
    let cache = tempfile::tempdir().unwrap();
    let (_folder, mut config) = config(&[("detector", component("detector"))], Limits::default());
    config.cache = Some(cache.path().join("compiled"));
    assert!(
        Plugins::load(config.clone())
            .unwrap()
            .has_detector("evil-detector")
    );
    let kept = code(&cache.path().join("compiled"));
    assert_eq!(
        kept.len(),
        1,
        "the child and this process mean the same by the same bytes: {kept:?}"
    );
    config.compiler = Some("/nowhere/at/all".into());
    let begun = Instant::now();
    assert!(
        Plugins::load(config.clone())
            .unwrap()
            .has_detector("evil-detector"),
        "nothing is compiled"
    );
    println!("from the cache in {:?}", begun.elapsed());
    assert_eq!(
        code(&cache.path().join("compiled")),
        kept,
        "nothing is compiled anew"
    );
    fs::remove_file(&kept[0].0).unwrap();
    let error = Plugins::load(config).unwrap().list()[0]
        .error
        .clone()
        .unwrap();
    assert!(
        error.contains("the compiler /nowhere/at/all can't be started"),
        "{error}"
    );
}

#[test]
fn without_a_cache_folder_a_child_works_in_a_private_one() {
    let (_folder, config) = config(&[("detector", component("detector"))], Limits::default());
    assert!(Plugins::load(config).unwrap().has_detector("evil-detector"));
}

#[test]
fn a_bomb_of_processor_time_is_stopped_and_told_by_the_name_of_the_limit() {
    let bomb = bomb::giant_function(1200, 1200);
    println!("{} bytes", bomb.len());
    let begun = Instant::now();
    let limits = Limits {
        compile_cpu: Duration::from_secs(3),
        compile_memory_bytes: 8 << 30,
        ..Limits::default()
    };
    let error = refused(bomb, limits);
    assert!(
        error.contains("more than 3s of processor time")
            && error.contains("plugins.limits.compile_cpu"),
        "{error}"
    );
    println!("stopped after {:?}: {error}", begun.elapsed());
}

#[test]
fn a_bomb_of_memory_is_stopped_and_told_by_the_name_of_the_limit() {
    let limits = Limits {
        compile_memory_bytes: 300 << 20,
        ..Limits::default()
    };
    let begun = Instant::now();
    let error = refused(bomb::functions(4, 700, 700), limits);
    assert!(
        error.contains("plugins.limits.compile_memory_bytes"),
        "{error}"
    );
    println!("stopped after {:?}: {error}", begun.elapsed());
}

#[test]
fn what_is_too_many_or_too_deep_is_refused_and_never_fatal() {
    for (name, bytes) in [
        ("types", bomb::many_types(1_000_001)),
        ("blocks", bomb::nested_blocks(300_000)),
        ("components", bomb::nested_components(2_000)),
        ("doubling", bomb::doubling_types(40)),
    ] {
        let (size, begun) = (bytes.len(), Instant::now());
        let limits = Limits {
            compile_cpu: Duration::from_secs(3),
            compile_memory_bytes: 1 << 30,
            ..Limits::default()
        };
        let error = refused(bytes, limits);
        println!("{name}: {size} bytes, {:?}: {error}", begun.elapsed());
        assert!(
            error.starts_with("bad.wasm is not a usable plugin: "),
            "{error}"
        );
    }
}
