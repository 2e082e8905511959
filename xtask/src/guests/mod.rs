//! Builds the guests: the plugins that the host ships, and malicious plugins for the tests.

mod built;
mod component;
pub mod examples;
pub mod projects;
mod stamp;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{process, workspace};

use stamp::Stamp;

pub use toolchain::{TARGET, Toolchain};

/// Guests that are built together, into a folder of their own in `target`.
struct Set {
    crates: &'static [&'static str],
    /// Common prefix of the package names: `plugins/detectors/zscore` is `anomalyzer-zscore`.
    prefix: &'static str,
    folder: &'static str,
}

/// Plugins that the host ships.
const SHIPPED: Set = Set {
    crates: &["plugins/detectors", "plugins/actions"],
    prefix: "anomalyzer-",
    folder: "plugins",
};
/// Malicious plugins for the tests. They have a folder of their own, so that no host loads them by
/// accident.
const EVIL: Set = Set {
    crates: &["plugins/evil"],
    prefix: "anomalyzer-evil-",
    folder: "evil",
};

/// Sources of every component besides its crate: the contract, shared crates, the locked
/// dependencies, and this builder.
const COMMON: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "plugins/sdk",
    "plugins/statistics",
    "wit",
    "xtask/src/guests",
];

/// Crate of a plugin, which becomes `<name>.wasm`.
struct Guest {
    name: String,
    package: String,
}

impl Guest {
    /// Encodes the guest's module as a component. Returns the component's size in bytes.
    fn encode(&self, modules: &Path, component: &Path) -> Result<usize> {
        let module = modules.join(format!("{}.wasm", self.package.replace('-', "_")));
        let bytes =
            fs::read(&module).with_context(|| format!("{} can't be read", module.display()))?;
        let bytes =
            component::encode(&bytes).with_context(|| format!("{} is no plugin", self.name))?;
        // A host that watches the folder must never see half a file.
        let partial = component.with_extension("partial");
        fs::write(&partial, &bytes)?;
        fs::rename(&partial, component)?;
        Ok(bytes.len())
    }
}

impl Set {
    fn guests(&self) -> Result<Vec<Guest>> {
        let mut guests = Vec::new();
        for crates in self.crates {
            let folder = workspace::root().join(crates);
            for entry in fs::read_dir(&folder)
                .with_context(|| format!("{} can't be read", folder.display()))?
            {
                let entry = entry?;
                if entry.path().join("Cargo.toml").exists() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    guests.push(Guest {
                        package: format!("{}{name}", self.prefix),
                        name,
                    });
                }
            }
        }
        guests.sort_by(|a, b| a.name.cmp(&b.name));
        ensure!(
            !guests.is_empty(),
            "there are no plugins under {}",
            self.crates.join(" and ")
        );
        Ok(guests)
    }

    fn folder(&self) -> PathBuf {
        workspace::target().join(self.folder)
    }

    fn component(&self, guest: &Guest) -> PathBuf {
        self.folder().join(format!("{}.wasm", guest.name))
    }

    /// Builds the set if a component is missing or older than its sources.
    fn build(&self) -> Result<()> {
        let begun = Instant::now();
        let guests = self.guests()?;
        let toolchain = Toolchain::get()?;
        let with = toolchain.name()?;
        let sources: Vec<&str> = COMMON.iter().chain(self.crates).copied().collect();
        let stamp = Stamp::now(self.folder().join(".built-from"), &with, &sources)?;
        if stamp.is_current() && guests.iter().all(|guest| self.component(guest).exists()) {
            println!(
                "plugins: {} up to date in {}",
                guests.len(),
                shown(&self.folder())
            );
            return Ok(());
        }
        println!("plugins: compiling {} with {with}", guests.len());
        let modules = compile(&guests, &toolchain, "guests", "")?;
        fs::create_dir_all(self.folder())?;
        stamp.forget()?;
        for guest in &guests {
            let component = self.component(guest);
            let bytes = guest.encode(&modules, &component)?;
            println!("plugins: {:>4} KiB  {}", bytes / 1024, shown(&component));
        }
        let built: Vec<String> = guests.iter().map(|guest| guest.name.clone()).collect();
        for gone in built::replace(&self.folder(), &built)? {
            println!("plugins: removed {}, whose crate is gone", shown(&gone));
        }
        stamp.keep()?;
        println!(
            "plugins: {} built and checked in {:.0?}",
            guests.len(),
            begun.elapsed()
        );
        Ok(())
    }
}

/// Builds outdated plugins that the host ships: `target/plugins/<name>.wasm`.
pub fn build() -> Result<()> {
    SHIPPED.build()
}

/// Builds outdated malicious plugins for the tests: `target/evil/<name>.wasm`.
pub fn build_evil() -> Result<()> {
    EVIL.build()
}

/// Builds a plugin with vector instructions for the benchmark: `target/bench/<name>.wasm`.
pub fn build_with_simd(name: &str) -> Result<()> {
    let guest = Guest {
        name: name.to_owned(),
        package: format!("{}{name}", SHIPPED.prefix),
    };
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder)?;
    let modules = compile(
        std::slice::from_ref(&guest),
        &Toolchain::get()?,
        "guests-simd",
        "-C target-feature=+simd128",
    )?;
    guest.encode(&modules, &folder.join(format!("{name}.wasm")))?;
    Ok(())
}

/// Compiles `guests` in a target folder of their own. A build of the host and a build of the guests
/// then neither wait for each other nor invalidate each other's results.
fn compile(guests: &[Guest], toolchain: &Toolchain, folder: &str, flags: &str) -> Result<PathBuf> {
    let target = workspace::target().join(folder);
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--locked", "--profile", "guest", "--target-dir"])
        .arg(&target);
    for guest in guests {
        cargo.args(["--package", &guest.package]);
    }
    toolchain.apply(&mut cargo);
    if !flags.is_empty() {
        cargo.env("RUSTFLAGS", flags);
    }
    process::run(&mut cargo).context("the plugins do not compile")?;
    Ok(target.join(TARGET).join("guest"))
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(workspace::root())
        .unwrap_or(path)
        .display()
}
