//! Compilers for `wasm32-unknown-unknown` on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;

pub const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library";
/// Packages with Debian's compiler for browsers. Debian updates both with Rust's releases.
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Maximum time for rustup's download of 20 MB. If rustup's server is unreachable, rustup retries
/// for minutes.
const RUSTUP_TIMEOUT: Duration = Duration::from_secs(180);

/// Compiler for the guests.
#[derive(Clone, Debug)]
pub enum Toolchain {
    /// The compiler in use has the target's standard library.
    Installed,
    /// Debian's compiler builds the standard library together with the guests. The linker comes
    /// from the compiler in use.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// Returns the installed toolchain, if there is one. Changes nothing.
    pub fn find() -> Result<Option<Self>> {
        let sysroot = sysroot()?;
        if sysroot
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
        {
            return Ok(Some(Self::Installed));
        }
        if Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_LIBRARY).is_dir() {
            let host = host_triple()?;
            let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
            if linker.exists() {
                return Ok(Some(Self::Debian { linker }));
            }
        }
        Ok(None)
    }

    /// Returns the installed toolchain, or installs one.
    pub fn get() -> Result<Self> {
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        println!("guests: the target {TARGET} is missing: rustup target add {TARGET}");
        let added = process::run_within(
            Command::new("rustup").args(["target", "add", TARGET]),
            RUSTUP_TIMEOUT,
        );
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        match added {
            Ok(status) => println!("guests: rustup could not ({status})"),
            Err(error) => println!("guests: rustup could not: {error:#}"),
        }
        if rustix::process::geteuid().is_root() && process::is_installed("apt-get") {
            println!(
                "guests: Debian has a compiler that can: apt-get install {}",
                DEBIAN_PACKAGES.join(" ")
            );
            process::run(Command::new("apt-get").arg("update"))?;
            let mut install = Command::new("apt-get");
            process::run(
                install
                    .args(["install", "-y"])
                    .args(DEBIAN_PACKAGES)
                    .env("DEBIAN_FRONTEND", "noninteractive"),
            )?;
            if let Some(found) = Self::find()? {
                return Ok(found);
            }
        }
        bail!("nothing here compiles to {TARGET}. {}", Self::remedy());
    }

    /// Returns advice on installing a toolchain by hand.
    pub fn remedy() -> String {
        format!(
            "Run `rustup target add {TARGET}` where static.rust-lang.org can be reached; or, on Debian, `apt-get install {}` \
             (with the Rust toolchain from rustup, whose linker is needed)",
            DEBIAN_PACKAGES.join(" ")
        )
    }

    /// Describes the toolchain for a person. The text is also part of the stamp of the guests.
    pub fn name(&self) -> Result<String> {
        let mut command = Command::new(match self {
            Self::Installed => rustc(),
            Self::Debian { .. } => DEBIAN_RUSTC.into(),
        });
        let version = process::output(command.arg("--version"))?;
        Ok(match self {
            Self::Installed => version,
            Self::Debian { .. } => format!("{version}, with a standard library of its own"),
        })
    }

    /// Turns a `cargo build` into a build of guests.
    pub fn apply(&self, cargo: &mut Command) {
        cargo.args(["--target", TARGET]);
        if let Self::Debian { linker } = self {
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn sysroot() -> Result<PathBuf> {
    Ok(
        process::output(Command::new(rustc()).args(["--print", "sysroot"]))
            .context("is Rust installed?")?
            .into(),
    )
}

fn host_triple() -> Result<String> {
    let verbose = process::output(Command::new(rustc()).arg("-vV"))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV does not name the host")?.to_owned())
}
