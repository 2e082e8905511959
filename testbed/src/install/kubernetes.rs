//! Builds the programs of a Kubernetes control plane, and kubectl, by the Go compiler.

use std::path::PathBuf;

use anyhow::Result;

use super::go::go;
use super::{Announced, Artefact, step};
use crate::cache;

/// Version of all programs.
pub const VERSION: &str = "1.36.2";
const NAME: &str = "kubernetes-1.36.2";
const TAKES: &str = "about 6 min on 2 cores";
const MODULE: &str = include_str!("../../kubernetes/go.mod");
const SUMS: &str = include_str!("../../kubernetes/go.sum");
const PROGRAMS: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
];

pub(super) fn artefact() -> Artefact {
    Artefact {
        name: format!("Kubernetes {VERSION}"),
        path: cache::find(NAME),
        takes: TAKES,
    }
}

/// Returns the folder that holds `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` and
/// `kubectl`, after a build if it is missing.
pub async fn kubernetes() -> Result<PathBuf> {
    cache::built(NAME, |folder: PathBuf| async move {
        let announced = Announced::new(format!("Kubernetes {VERSION}"), TAKES);
        std::fs::write(folder.join("go.mod"), MODULE)?;
        std::fs::write(folder.join("go.sum"), SUMS)?;
        let mut command = go(&folder)?;
        command.env("CGO_ENABLED", "0");
        command
            .args(["build", "-trimpath", "-buildvcs=false"])
            .arg(ldflags())
            .args(["-o", "./"]);
        command.args(PROGRAMS.map(|program| format!("k8s.io/kubernetes/cmd/{program}")));
        step("go build Kubernetes", command, &folder.join("install.log")).await?;
        announced.done();
        Ok(())
    })
    .await
}

/// Returns the linker flags with the version. Without them the programs report version 0.0.0.
fn ldflags() -> String {
    let mut flags = "-ldflags=-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        flags.push_str(&format!(
            " -X {package}.gitVersion=v{VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=36"
        ));
    }
    flags
}
