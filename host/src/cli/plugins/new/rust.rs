//! Makes a project in Rust. The project needs cargo and its registry, and no checkout of this
//! repository, because the SDK is copied into it.

use super::{Kind, Project, sdk};

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/templates/rust/",
            $path
        ))
    };
}

pub(super) fn project(name: &str, kind: Kind) -> Result<Project, String> {
    let library = match kind {
        Kind::Detector => template!("detector/lib.rs"),
        Kind::Action => template!("action/lib.rs"),
    };
    // Cargo replaces hyphens in the name of the built file.
    let module = format!("{}.wasm", name.replace('-', "_"));
    let fill_in = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{kind}}", kind.name())
            .replace("{{module}}", &module)
    };
    let mut files = vec![
        ("Cargo.toml".to_owned(), fill_in(template!("Cargo.toml.in"))),
        ("Cargo.lock".to_owned(), sdk::lock(name)?),
        (".gitignore".to_owned(), template!("gitignore").to_owned()),
        ("README.md".to_owned(), fill_in(template!("README.md.in"))),
        ("src/lib.rs".to_owned(), library.to_owned()),
    ];
    files.extend(sdk::files()?);
    let built = format!("target/wasm32-unknown-unknown/release/{module}");
    let commands = vec![
        "rustup target add wasm32-unknown-unknown    # once".to_owned(),
        "cargo test".to_owned(),
        "cargo build --release --target wasm32-unknown-unknown".to_owned(),
        format!("anomalyzer plugins test {built}"),
    ];
    Ok(Project { files, commands })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_stands_by_itself() {
        for kind in [Kind::Detector, Kind::Action] {
            let files = project("my-plugin", kind).unwrap().files;
            for (path, text) in &files {
                assert!(
                    !text.contains("workspace = true") && !text.contains("{{"),
                    "{path}"
                );
            }
            let manifest = &files[0].1;
            assert!(manifest.contains("name = \"my-plugin\""), "{manifest}");
            assert!(manifest.parse::<toml::Table>().is_ok(), "{manifest}");
        }
    }
}
