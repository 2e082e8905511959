//! Embeds the SDK's sources in the program, so that projects made by `anomalyzer plugins new` need
//! no other source of the SDK.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let sdk = here.join("../plugins/sdk").canonicalize()?;
    println!("cargo::rerun-if-changed={}", sdk.display());
    let mut files = Vec::new();
    collect(&sdk, &mut files)?;
    files.sort();
    let mut list = String::from("[\n");
    for file in &files {
        let name = file.strip_prefix(&sdk).unwrap_or(file);
        // Writing to a string can't fail.
        let _ = writeln!(
            list,
            "    ({:?}, include_str!({:?})),",
            name.display().to_string(),
            file.display().to_string()
        );
    }
    list.push_str("]\n");
    fs::write(
        Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("sdk_files.rs"),
        list,
    )
}

/// Collects manifests, sources and Markdown files below `folder`. Skips `target` and `tests`, which
/// hold build output and tests.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != "target" && name != "tests" {
                collect(&path, files)?;
            }
        } else if name == "Cargo.toml"
            || path
                .extension()
                .is_some_and(|extension| extension == "rs" || extension == "md")
        {
            files.push(path);
        }
    }
    Ok(())
}
