//! Packages of the workspace, as `cargo metadata` lists them.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::tree::Tree;
use crate::{process, workspace};

#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal dependency; else "dev" or "build".
    kind: Option<String>,
}

impl Metadata {
    /// Asks cargo for the packages of the workspace in `tree`.
    ///
    /// # Errors
    /// Returns an error if cargo fails or its answer can't be read.
    pub fn read(tree: &Tree) -> Result<Self> {
        let mut cargo = workspace::cargo();
        cargo
            .current_dir(tree.root())
            .args(["metadata", "--no-deps", "--format-version", "1"]);
        Self::parse(&process::output(&mut cargo)?)
    }

    /// Reads the output of `cargo metadata`.
    ///
    /// # Errors
    /// Returns an error if `json` is something else, or lists no packages.
    pub fn parse(json: &str) -> Result<Self> {
        let metadata: Self =
            serde_json::from_str(json).context("`cargo metadata` printed something unexpected")?;
        ensure!(
            !metadata.packages.is_empty(),
            "`cargo metadata` lists no packages"
        );
        Ok(metadata)
    }

    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    /// Returns the names of the normal dependencies.
    pub fn dependencies(&self) -> impl Iterator<Item = &str> {
        let normal = self.dependencies.iter();
        normal
            .filter(|dependency| dependency.kind.is_none())
            .map(|dependency| dependency.name.as_str())
    }

    pub fn depends_on(&self, name: &str) -> bool {
        self.dependencies().any(|dependency| dependency == name)
    }
}

/// Metadata for tests of the checks.
#[cfg(test)]
pub mod fixture {
    use serde_json::json;

    use super::Metadata;

    /// Builds metadata of packages each given as name and normal dependencies. Each
    /// package also has a dev-dependency on wasmtime and on `anomalyzer-service`.
    pub fn packages(packages: &[(&str, &[&str])]) -> Metadata {
        let packages: Vec<_> = packages
            .iter()
            .map(|(name, dependencies)| {
                let normal = dependencies
                    .iter()
                    .map(|name| json!({"name": name, "kind": null}));
                let dev = ["wasmtime", "anomalyzer-service"]
                    .map(|name| json!({"name": name, "kind": "dev"}));
                json!({
                    "name": name,
                    "dependencies": normal.chain(dev).collect::<Vec<_>>(),
                })
            })
            .collect();
        Metadata::parse(&json!({ "packages": packages }).to_string()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_packages_is_an_error() {
        assert!(Metadata::parse(r#"{"packages": []}"#).is_err());
        assert!(Metadata::parse("error: no such command").is_err());
    }
}
