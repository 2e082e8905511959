//! Errors of the configuration.

use std::path::PathBuf;

/// A mistake in the configuration, with the file, the position and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {reason}; give the path of a configuration, or copy anomalyzer.example.toml")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        reason: std::io::Error,
    },
    /// A setting in the file cannot work.
    #[error("{path}:{line}:{column}: {message}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        /// The mistake and the remedy.
        message: String,
    },
    /// Without a file, defaults and environment do not fit together.
    #[error("without a configuration file: {0}")]
    Unfit(String),
    /// A variable of the environment has an unusable value.
    #[error("environment variable {name}: {message}")]
    Environment {
        /// Name of the variable.
        name: String,
        /// The mistake and the remedy.
        message: String,
    },
}
