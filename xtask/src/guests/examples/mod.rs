//! Builds the examples in other languages, with tools that are installed when they are first
//! needed.

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

/// A language whose examples could not be built for lack of its tools.
pub struct Missing {
    /// Which.
    pub language: Language,
    /// What is missing.
    pub why: anyhow::Error,
}

/// Builds what is not up to date: `target/examples/<language>-<kind>.wasm`. An example that is no
/// good is an error; where a language's tools can't be had, the others are built all the same.
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

/// The languages that are missing.
pub fn in_words(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|missing| missing.language.to_string())
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The inner error says why there are no tools.
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

/// Where the components go: not among the plugins that a host loads by itself, which has other
/// limits for them.
fn folder() -> PathBuf {
    workspace::target().join("examples")
}
