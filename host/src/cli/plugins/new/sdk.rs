//! Copies the SDK into a project.
//!
//! The SDK is on no registry, and a path into a checkout would tie a project to one machine. Each
//! project therefore gets the sources in `sdk/`. They are always copied in the same way, with or
//! without a checkout around. A plugin is thus built with the SDK of the host that made the
//! project. To get a newer SDK, run a newer `anomalyzer plugins new` in another folder. The cost is
//! about 60 KB in each project. The contract is part of the copy, in `sdk/wit`.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::CONTRACT;

/// Path of each file of the SDK below `plugins/sdk`, and its text.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));
const WORKSPACE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// Folder of the SDK in the workspace.
const HOME: &str = "plugins/sdk";
/// Folder of the SDK in a project.
const FOLDER: &str = "sdk";
const SDK: &str = "anomalyzer-plugin-sdk";
/// Other dependencies of a plugin.
const BESIDES: [&str; 2] = ["schemars", "serde"];

/// Returns the SDK's files. Each path is relative to the project's folder.
pub(super) fn files() -> Result<Vec<(String, String)>, String> {
    let workspace = table("Cargo.toml", WORKSPACE)?;
    let mut files = vec![(format!("{FOLDER}/wit/plugin.wit"), CONTRACT.to_owned())];
    for (path, text) in FILES {
        let text = if path.ends_with("Cargo.toml") {
            manifest(&workspace, path, text)?
        } else {
            // The macro resolves the path of the contract relative to the crate's folder.
            text.replace("\"../../../wit\"", "\"../wit\"")
                .replace("\"../../wit\"", "\"wit\"")
        };
        files.push((format!("{FOLDER}/{path}"), text));
    }
    Ok(files)
}

/// Rewrites the manifest of a workspace member so that it stands alone. Inherited values are
/// written out.
fn manifest(workspace: &Table, path: &str, text: &str) -> Result<String, String> {
    let mut manifest = table(path, text)?;
    let shared = |part: &str| {
        workspace
            .get("workspace")
            .and_then(|all| all.get(part))
            .and_then(Value::as_table)
    };
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    if let (Some(package), Some(shared)) = (
        manifest.get_mut("package").and_then(Value::as_table_mut),
        shared("package"),
    ) {
        inherit(package, shared, |value| value);
    }
    if let (Some(mine), Some(shared)) = (
        manifest
            .get_mut("dependencies")
            .and_then(Value::as_table_mut),
        shared("dependencies"),
    ) {
        let depth = path.matches('/').count();
        inherit(mine, shared, |value| nearer(value, depth));
    }
    toml::to_string(&manifest)
        .map_err(|error| format!("the SDK's {path} can't be written: {error}"))
}

/// Replaces each `workspace = true` in `mine` with the workspace's value, and keeps the keys beside
/// it.
fn inherit(mine: &mut Table, shared: &Table, adapt: impl Fn(Value) -> Value) {
    for (name, value) in mine.iter_mut() {
        let Some(own) = value
            .as_table()
            .filter(|own| own.get("workspace") == Some(&Value::Boolean(true)))
        else {
            continue;
        };
        let Some(mut whole) = shared.get(name).cloned().map(&adapt) else {
            continue;
        };
        let beside: Table = own
            .iter()
            .filter(|(key, _)| *key != "workspace")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !beside.is_empty() {
            if let Value::String(version) = whole {
                whole = Value::Table(
                    [("version".to_owned(), Value::String(version))]
                        .into_iter()
                        .collect(),
                );
            }
            if let Some(table) = whole.as_table_mut() {
                table.extend(beside);
            }
        }
        *value = whole;
    }
}

/// Rewrites a path that is relative to the workspace's folder, so that it is relative to the folder
/// of a crate `depth` levels below the SDK's folder.
fn nearer(mut dependency: Value, depth: usize) -> Value {
    let path = dependency
        .get("path")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let (Some(path), Some(table)) = (path, dependency.as_table_mut())
        && let Some(below) = path.strip_prefix(HOME)
    {
        let up = "../".repeat(depth);
        let path = format!("{up}{}", below.trim_start_matches('/'));
        let path = if path.is_empty() {
            ".".to_owned()
        } else {
            path
        };
        table.insert("path".to_owned(), Value::String(path));
    }
    dependency
}

/// Makes the lock file of a project, with the versions that the SDK was tested with. Contains the
/// part of the workspace's lock file that a plugin needs.
pub(super) fn lock(name: &str) -> Result<String, String> {
    let mut lock = table("Cargo.lock", LOCK)?;
    let all = lock
        .get("package")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut needed = BTreeSet::new();
    let mut todo: Vec<String> = BESIDES
        .into_iter()
        .chain([SDK])
        .map(str::to_owned)
        .collect();
    while let Some(wanted) = todo.pop() {
        // A dependency is written as `name`, or as `name version` if several versions are locked.
        let mut fields = wanted.split(' ');
        let (wanted_name, version) = (fields.next(), fields.next());
        let found = all.iter().position(|package| {
            field(package, "name") == wanted_name
                && version.is_none_or(|version| field(package, "version") == Some(version))
        });
        let Some(found) = found else {
            return Err(format!("the lock file of this build knows no `{wanted}`"));
        };
        if needed.insert(found) {
            let dependencies = all[found].get("dependencies").and_then(Value::as_array);
            todo.extend(
                dependencies
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(str::to_owned),
            );
        }
    }
    let mut packages: Vec<Value> = needed.into_iter().map(|index| all[index].clone()).collect();
    let mut dependencies: Vec<Value> = BESIDES
        .into_iter()
        .chain([SDK])
        .map(|name| Value::String(name.to_owned()))
        .collect();
    dependencies.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    let text = |text: &str| Value::String(text.to_owned());
    let project = [
        ("name".to_owned(), text(name)),
        ("version".to_owned(), text("0.1.0")),
        ("dependencies".to_owned(), Value::Array(dependencies)),
    ];
    packages.push(Value::Table(project.into_iter().collect()));
    lock.insert("package".to_owned(), Value::Array(packages));
    let body = toml::to_string(&lock)
        .map_err(|error| format!("the lock file can't be written: {error}"))?;
    Ok(format!(
        "# The versions that the SDK was tested with; `cargo update` takes newer ones.\n{body}"
    ))
}

fn field<'a>(package: &'a Value, key: &str) -> Option<&'a str> {
    package.get(key).and_then(Value::as_str)
}

fn table(name: &str, text: &str) -> Result<Table, String> {
    text.parse::<Table>()
        .map_err(|error| format!("{name} of this build can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_inherits_is_written_out() {
        let workspace = r#"
            [workspace.package]
            version = "0.1.0"
            [workspace.dependencies]
            serde = { version = "1", features = ["derive"] }
            schemars = "1"
            inner = { path = "plugins/sdk/inner" }
            outer = { path = "plugins/sdk" }
        "#;
        let member = r#"
            [package]
            name = "x"
            version.workspace = true
            [lints]
            workspace = true
            [dependencies]
            serde.workspace = true
            schemars = { workspace = true, optional = true }
            inner.workspace = true
            outer.workspace = true
            own = "0.1"
        "#;
        let workspace = table("w", workspace).unwrap();
        let below: Table = manifest(&workspace, "inner/Cargo.toml", member)
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(below["package"]["version"].as_str(), Some("0.1.0"));
        assert_eq!(
            below["dependencies"]["serde"]["features"][0].as_str(),
            Some("derive")
        );
        assert_eq!(
            below["dependencies"]["schemars"]["version"].as_str(),
            Some("1")
        );
        assert_eq!(
            below["dependencies"]["schemars"]["optional"].as_bool(),
            Some(true)
        );
        assert_eq!(below["dependencies"]["outer"]["path"].as_str(), Some("../"));
        assert_eq!(below["dependencies"]["own"].as_str(), Some("0.1"));
        assert!(!below.contains_key("lints"));
        let at_top: Table = manifest(&workspace, "Cargo.toml", member)
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            at_top["dependencies"]["inner"]["path"].as_str(),
            Some("inner")
        );
    }

    #[test]
    fn the_sdk_is_whole_and_names_nothing_outside_the_project() {
        let files = files().unwrap();
        let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        for name in [
            "sdk/Cargo.toml",
            "sdk/src/lib.rs",
            "sdk/src/bindings.rs",
            "sdk/src/test/series.rs",
            "sdk/wit/plugin.wit",
        ] {
            assert!(names.contains(&name), "{name} is missing from {names:?}");
        }
        for (path, text) in &files {
            assert!(
                !text.contains("\"../../wit\"") && !text.contains("\"../../../wit\""),
                "{path}"
            );
            assert!(!text.contains("workspace = true"), "{path}");
        }
    }

    #[test]
    fn the_lock_file_holds_what_the_sdk_needs_and_no_more() {
        let lock: Table = lock("my-plugin").unwrap().parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let names: Vec<&str> = packages
            .iter()
            .filter_map(|package| field(package, "name"))
            .collect();
        for name in [
            "my-plugin",
            SDK,
            "serde",
            "schemars",
            "serde_json",
            "wit-bindgen",
        ] {
            assert!(names.contains(&name), "{name} is missing");
        }
        assert!(
            !names.contains(&"wasmtime") && !names.contains(&"tokio"),
            "{names:?}"
        );
    }
}
