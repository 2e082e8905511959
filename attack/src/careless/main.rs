//! A program that does wrong whatever it can, in place of Anomalyzer.
//!
//! `cargo xtask attack --rehearse` attacks it. A row that finds no fault here would find none in
//! the real program either. Each fault names the row that must report it.

mod api;
mod history;
mod http;
mod sources;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The settings that the program reads.
struct Settings {
    text: String,
}

impl Settings {
    /// Returns the text between quotes after the first `key`.
    fn value(&self, key: &str) -> Option<&str> {
        let (_, rest) = self.text.split_once(key)?;
        rest.split('"').nth(1)
    }

    /// Returns the path after the first `key`.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let value = self.value(key);
        Ok(value.with_context(|| format!("no {key}"))?.into())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Fault for `record` and `kills`: no command looks at the record.
    if words[0] != "serve" {
        println!("intact");
        return Ok(());
    }
    let text = std::fs::read_to_string(words.last().context("no configuration")?)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("a TLS provider is already installed")?;
    // Fault for `secrets`.
    println!("{text}");
    let settings = Settings { text };
    // Fault for `limits`: the folder has no lock, other users can read it, and it may be full.
    let data = settings.path("data_dir = ")?;
    std::fs::create_dir_all(&data)?;
    history::open(&data).await;
    let plugins = settings.path("folder = ")?;
    read_all(&plugins)?;
    sources::watch(&settings);
    let address = settings.value("listen = ").context("no address")?;
    http::serve(address, api::Api::new(plugins)).await
}

/// Fault for `folder`: reads a pipe, for which it waits for ever.
fn read_all(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_fifo() {
            std::fs::read(entry.path())?;
        }
    }
    Ok(())
}
