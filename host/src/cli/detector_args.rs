//! Arguments and output shared by the commands that run detectors on files.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use anomalyzer_evaluate::csv::{CsvError, ReadReport};
use anomalyzer_evaluate::quality::{Detectors, QualityError};
use anomalyzer_plugin_host::PluginConfig;
use anomalyzer_service::config;

/// Folder, settings and compiler of the detectors.
#[derive(Clone, Debug, Args)]
pub struct DetectorArgs {
    /// The detector's settings: a JSON object, or a file with one
    #[arg(long, value_name = "JSON|FILE", default_value = "{}", value_parser = settings)]
    pub settings: Value,
    /// The folder in which detectors are found by name
    #[arg(long, value_name = "DIR", default_value_os_t = config::plugin_folder())]
    pub plugins: PathBuf,
    /// Program that compiles the detectors: see [`anomalyzer_plugin_host::PluginConfig::compiler`]
    #[arg(skip)]
    pub compiler: Option<PathBuf>,
}

fn settings(text: &str) -> Result<Value, String> {
    let read =
        |error| format!("{text} is neither a JSON object nor a file that can be read: {error}");
    let text = match text.trim_start().starts_with('{') {
        true => text.to_owned(),
        false => std::fs::read_to_string(text).map_err(read)?,
    };
    serde_json::from_str::<Map<String, Value>>(&text)
        .map(Value::Object)
        .map_err(|error| error.to_string())
}

impl DetectorArgs {
    /// Loads the wanted detectors. Blocks the current thread.
    pub(super) fn load(self, wanted: &[String]) -> Result<Detectors, QualityError> {
        let plugins = PluginConfig {
            folder: self.plugins,
            cache: Some(config::cache_folder().join("compiled")),
            compiler: self.compiler,
            ..PluginConfig::default()
        };
        Detectors::load(wanted, plugins, self.settings)
    }
}

/// Runs blocking work on a thread of its own, so that other tasks keep running. Returns early if
/// `shutdown` is cancelled.
pub(super) async fn blocking<T: Send + 'static>(
    shutdown: &CancellationToken,
    work: impl FnOnce() -> Result<T, QualityError> + Send + 'static,
) -> Result<T, QualityError> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => {
            done.unwrap_or_else(|error| Err(QualityError::Wrong(format!("{error}; report it, with the files"))))
        }
        () = shutdown.cancelled() => Err(QualityError::Interrupted),
    }
}

/// Shows the number of finished files on standard error. Prints nothing unless standard error is a
/// terminal, and clears the line at the end.
pub(super) fn progress(what: &str, all: usize) -> impl Fn(usize) + Sync {
    let terminal = io::stderr().is_terminal();
    move |done| {
        if !terminal {
            return;
        }
        let mut stderr = io::stderr().lock();
        let _ = match done {
            done if done < all => write!(stderr, "\r{what}: {done} of {all} files"),
            _ => write!(stderr, "\r\x1b[K"),
        };
        let _ = stderr.flush();
    }
}

/// Turns a broken pipe into success: a reader that closes the output early is not an error.
pub(super) fn unless_closed<T: Default>(
    result: Result<T, QualityError>,
) -> Result<T, QualityError> {
    match result {
        Err(QualityError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(T::default())
        }
        result => result,
    }
}

/// Returns the reason to refuse a file of which too much is unreadable. Its results are written all
/// the same, with the counts.
pub(super) fn refusal(path: &Path, input: &ReadReport) -> Option<CsvError> {
    let why = input.refusal()?;
    Some(CsvError::new(path, format!("not all of it: {why}")))
}

/// Formats a count with commas between groups of three digits.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut written = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_an_object_or_a_file_with_one() {
        assert_eq!(settings(r#"{"window": 5}"#), Ok(json!({"window": 5})));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, r#"{"spike": 3}"#).unwrap();
        assert_eq!(
            settings(&file.path().display().to_string()),
            Ok(json!({"spike": 3}))
        );
        std::fs::write(&file, "[]").unwrap();
        assert!(settings(&file.path().display().to_string()).is_err());
        assert!(settings("{").is_err());
        assert!(settings("[]").unwrap_err().contains("neither"));
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 365_558, 1_000_000].map(count),
            ["0", "999", "1,000", "365,558", "1,000,000"]
        );
    }
}
