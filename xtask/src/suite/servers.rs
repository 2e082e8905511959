//! Installs the real servers in the background. A server that can't be installed does not affect
//! the others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow, bail};

use super::is_ci;
use crate::testbed::{self, Testbed};
use crate::{process, workspace};

/// Names of the servers, as in `testbed`.
pub const NAMES: [&str; 4] = ["kafka", "prometheus", "ollama", "kubernetes"];

/// Servers that a background thread installs.
pub struct Servers {
    log: PathBuf,
    work: JoinHandle<Installed>,
}

/// Result of the installations.
pub struct Installed {
    /// Each server, with the error of its installation.
    servers: Vec<(&'static str, Result<()>)>,
}

impl Servers {
    /// Starts the installations.
    pub fn install() -> Result<Self> {
        let binary = testbed::binary()?;
        let log = testbed::folder()?.join("install.log");
        let file = File::create(&log)?;
        println!(
            "installing {} in the background, see {}",
            NAMES.join(", "),
            log.display()
        );
        let work = thread::spawn(move || Installed {
            servers: NAMES
                .iter()
                .map(|name| (*name, install(&binary, name, &file)))
                .collect(),
        });
        Ok(Self { log, work })
    }

    /// Waits until all installations have ended.
    pub fn wait(self) -> Result<Installed> {
        let installed = self
            .work
            .join()
            .map_err(|_| anyhow!("the installation panicked"))?;
        for (name, outcome) in &installed.servers {
            match outcome {
                Ok(()) => println!("{name}: installed"),
                Err(error) => println!("{name}: {error:#}; see {}", self.log.display()),
            }
        }
        if process::is_interrupted() {
            bail!("interrupted");
        }
        Ok(installed)
    }
}

fn install(testbed: &Path, name: &str, log: &File) -> Result<()> {
    let mut install = process::command(testbed);
    install
        .args(["install", "--only", name])
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    process::run(&mut install)
}

impl Installed {
    /// Starts the installed servers.
    ///
    /// # Errors
    /// Returns an error after Ctrl-C, or if `CI` is set and a server is missing or does not start.
    pub fn up(&self) -> Result<Option<Testbed>> {
        let here = self
            .servers
            .iter()
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(name, _)| *name)
            .collect::<Vec<_>>();
        if is_ci() && here.len() < self.servers.len() {
            bail!("only {here:?} could be installed, and with CI set nothing may be left out");
        }
        if here.is_empty() {
            return Ok(None);
        }
        // Pods run the program that the tests use.
        let image = format!(
            "anomalyzer:dev={}",
            workspace::target()
                .join("debug")
                .join("anomalyzer")
                .display()
        );
        match Testbed::up(
            "test",
            &[
                "--only".to_owned(),
                here.join(","),
                "--image".to_owned(),
                image,
            ],
        ) {
            Ok(testbed) => Ok(Some(testbed)),
            Err(error) if is_ci() || process::is_interrupted() => Err(error),
            Err(error) => {
                println!("{error:#}: going on without them");
                Ok(None)
            }
        }
    }

    /// Returns the reason for which a server is missing.
    pub fn why_missing(&self, server: &str) -> Option<String> {
        let (_, outcome) = self.servers.iter().find(|(name, _)| *name == server)?;
        outcome
            .as_ref()
            .err()
            .map(|error| format!("not installed: {error:#}"))
    }
}
