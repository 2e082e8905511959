//! Builds the examples in other languages. Installs their tools before the first build.

mod language;
mod tools;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::stamp::Stamp;
use super::{component, shown};
use crate::{process, workspace};

pub use language::Language;

/// A language whose examples could not be built because its tools are missing.
pub struct Missing {
    /// The language.
    pub language: Language,
    /// Error that names the missing tool.
    pub why: anyhow::Error,
}

/// Builds outdated examples: `target/examples/<language>-<kind>.wasm`. Returns the languages whose
/// tools are missing; the other languages are built all the same.
///
/// # Errors
/// Returns an error if an example does not build or is no valid plugin.
pub fn build() -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    for language in Language::ALL {
        if let Err(why) = build_all_of(language)? {
            if process::is_interrupted() {
                bail!("interrupted");
            }
            println!(
                "examples: NOT BUILT in {language}: {why:#}; it takes {}",
                language.remedy()
            );
            missing.push(Missing { language, why });
        }
    }
    Ok(missing)
}

/// Joins the names of the missing languages for a message.
pub fn joined_names(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|missing| missing.language.to_string())
        .collect::<Vec<_>>()
        .join(" and ")
}

/// Builds all examples of `language`. The inner error says why the tools are missing.
fn build_all_of(language: Language) -> Result<Result<()>> {
    let begun = Instant::now();
    let stamp = Stamp::now(
        folder().join(format!(".{language}-built-from")),
        language.tool(),
        &language.sources(),
    )?;
    let components = Language::KINDS.map(|kind| folder().join(format!("{language}-{kind}.wasm")));
    if stamp.is_current() && components.iter().all(|component| component.exists()) {
        println!(
            "examples: {} in {language} up to date in {}",
            components.len(),
            shown(&folder())
        );
        return Ok(Ok(()));
    }
    let tools = match tools::installed(language) {
        Ok(tools) => tools,
        Err(why) => return Ok(Err(why)),
    };
    fs::create_dir_all(folder())?;
    stamp.forget()?;
    for (kind, component) in Language::KINDS.iter().zip(&components) {
        println!(
            "examples: building the {kind} in {language} with {}",
            language.tool()
        );
        let partial = component.with_extension("partial");
        language.componentize(&tools, kind, &partial)?;
        let bytes =
            fs::read(&partial).with_context(|| format!("{} can't be read", partial.display()))?;
        component::check(&bytes)
            .with_context(|| format!("the {kind} in {language} is no plugin"))?;
        fs::rename(&partial, component)?;
        println!(
            "examples: {:>5} KiB  {}",
            bytes.len() / 1024,
            shown(component)
        );
    }
    stamp.keep()?;
    println!(
        "examples: {} in {language} built and checked in {:.0?}",
        components.len(),
        begun.elapsed()
    );
    Ok(Ok(()))
}

/// Returns the folder of the components. Hosts load all plugins in `target/plugins` with their
/// usual limits, and these components need other limits.
fn folder() -> PathBuf {
    workspace::target().join("examples")
}
