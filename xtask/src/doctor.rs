//! Lists the programs that building and testing need, and a remedy for each missing one.

use std::process::Command;

use anyhow::{Result, bail};

use crate::guests::Toolchain;
use crate::guests::examples::Language;
use crate::suite::CARGO_DENY;
use crate::{process, testbed};

struct Item {
    name: &'static str,
    found: Result<String>,
    remedy: String,
}

/// Prints a line for each program.
///
/// # Errors
/// Returns an error if a program is missing without which nothing can be built.
pub fn examine() -> Result<()> {
    let needed = [
        version("rustc", "rustc", "https://rustup.rs"),
        version("cargo", "cargo", "https://rustup.rs"),
        version(
            "C compiler",
            "cc",
            "Debian: apt-get install build-essential",
        ),
        version(
            "C++ compiler",
            "c++",
            "Debian: apt-get install build-essential",
        ),
        version("make", "make", "Debian: apt-get install build-essential"),
        guest_toolchain(),
    ];
    let deny = Item {
        name: "cargo-deny",
        found: process::output(Command::new("cargo").args(["deny", "--version"])),
        remedy: format!("cargo xtask test installs it: cargo install {CARGO_DENY} --locked"),
    };
    for item in needed.iter().chain([&deny]) {
        item.print();
    }
    println!(
        "\nFor the example plugins in other languages (cargo xtask plugins --examples, cargo xtask test):"
    );
    for language in Language::ALL {
        for program in language.programs() {
            version(program, program, language.remedy()).print();
        }
    }
    println!("\nFor the real servers (cargo xtask demo --real, cargo xtask test):");
    process::run(process::command(&testbed::binary()?).arg("doctor"))?;
    let missing = needed
        .iter()
        .filter(|item| item.found.is_err())
        .map(|item| item.name)
        .collect::<Vec<_>>();
    if !missing.is_empty() {
        bail!("missing: {}", missing.join(", "));
    }
    Ok(())
}

fn version(name: &'static str, program: &str, remedy: &str) -> Item {
    let found = process::output(Command::new(program).arg("--version"));
    Item {
        name,
        found,
        remedy: remedy.to_owned(),
    }
}

fn guest_toolchain() -> Item {
    let found = match Toolchain::find() {
        Ok(Some(toolchain)) => toolchain.name(),
        Ok(None) => Err(anyhow::anyhow!("not installed yet")),
        Err(error) => Err(error),
    };
    let remedy = format!(
        "cargo xtask plugins tries both ways by itself. {}",
        Toolchain::remedy()
    );
    Item {
        name: "compiler for plugins",
        found,
        remedy,
    }
}

impl Item {
    fn print(&self) {
        match &self.found {
            Ok(found) => println!(
                "here     {:<34} {}",
                self.name,
                found.lines().next().unwrap_or_default()
            ),
            Err(error) => {
                println!("MISSING  {:<34} {error:#}", self.name);
                println!("         get it: {}", self.remedy);
            }
        }
    }
}
