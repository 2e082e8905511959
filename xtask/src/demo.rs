//! The demo, on embedded parts or on real servers.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::testbed::{self, Testbed};
use crate::{guests, process, workspace};

/// Manifest of the demo's application for Kubernetes.
const SHOP: &str = "deploy/demo/shop.yaml";

/// Builds the plugins and the release binary.
pub fn build() -> Result<PathBuf> {
    guests::build()?;
    // `--workspace` gives the dependencies the same features as in the benchmarks. With
    // `--package`, cargo would build them a second time.
    process::run(workspace::cargo().args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bin",
        "anomalyzer",
    ]))?;
    Ok(workspace::target().join("release").join("anomalyzer"))
}

/// Builds the program and replaces this process with `anomalyzer demo`.
pub fn embedded(arguments: &[String]) -> Result<()> {
    let binary = build()?;
    let error = process::command(&binary).arg("demo").args(arguments).exec();
    Err(error).with_context(|| format!("{} does not start", binary.display()))
}

/// Runs `anomalyzer demo --real` on a testbed that lives as long as the demo.
pub fn real(arguments: &[String]) -> Result<()> {
    let binary = build()?;
    let image = image(&binary);
    println!(
        "the real servers: Kafka, Prometheus, Ollama, Kubernetes; the first time takes about 12 minutes"
    );
    let testbed = Testbed::up("demo", &["--image".to_owned(), image])?;
    let kubectl = testbed.state("/kubernetes/kubectl")?;
    for arguments in [
        &["apply", "--filename", SHOP][..],
        &[
            "--namespace",
            "demo",
            "rollout",
            "status",
            "deployment/shop",
            "--timeout=60s",
        ],
    ] {
        let mut kubectl = process::command(kubectl.as_ref());
        process::run(
            kubectl
                .current_dir(workspace::root())
                .args(arguments)
                .envs(testbed.environment()),
        )?;
    }
    let mut demo = process::command(&binary);
    process::run(
        demo.args(["demo", "--real"])
            .args(arguments)
            .envs(testbed.environment()),
    )
}

/// Starts the real servers and leaves them running, and prints the commands for the demo on them.
pub fn servers(arguments: &[String]) -> Result<()> {
    let binary = build()?;
    let mut up = process::command(&testbed::binary()?);
    process::run(
        up.args(["up", "--detach", "--image", &image(&binary)])
            .args(arguments),
    )?;
    println!("# The demo on them, in a shell that has these variables:");
    println!(
        "#   \"$KUBECTL\" apply --filename {SHOP} && {} demo --real",
        binary.display()
    );
    Ok(())
}

/// Names the image of the demo's application, and the program that stands for it.
fn image(binary: &Path) -> String {
    format!("anomalyzer:dev={}", binary.display())
}
