//! Folders that depend on the machine: the cache and the plugins.

use std::path::PathBuf;

/// Returns the folder of compiled plugins and built servers.
pub fn cache_folder() -> PathBuf {
    let from = |name: &str, below: &str| {
        std::env::var_os(name).map(|value| PathBuf::from(value).join(below))
    };
    from("XDG_CACHE_HOME", "anomalyzer")
        .or_else(|| from("HOME", ".cache/anomalyzer"))
        .unwrap_or_else(std::env::temp_dir)
}

/// Returns the default plugin folder. An installation has it beside the program. Otherwise it is
/// `target/plugins`, which `cargo xtask plugins` fills.
pub fn plugin_folder() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(std::path::Path::to_owned));
    let candidates = beside.iter().flat_map(|folder| {
        [
            Some(folder.join("plugins")),
            folder.parent().map(|up| up.join("plugins")),
            folder
                .parent()
                .and_then(|up| up.parent())
                .map(|up| up.join("plugins")),
        ]
    });
    candidates
        .flatten()
        .find(|folder| folder.is_dir() && has_wasm(folder))
        .unwrap_or_else(|| PathBuf::from("target/plugins"))
}

fn has_wasm(folder: &std::path::Path) -> bool {
    let wasm = |entry: std::fs::DirEntry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "wasm")
    };
    std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(wasm))
}
