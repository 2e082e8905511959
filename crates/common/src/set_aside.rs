//! Damaged files: moved aside, so that the service starts without them.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::clock::now_ms;

/// File that was moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Present path of the file.
    pub path: PathBuf,
    /// Reason, and effect of going on without the file.
    pub reason: String,
}

impl std::fmt::Display for SetAside {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "a damaged file was moved to {}: {}",
            self.path.display(),
            self.reason
        )
    }
}

/// Moves a damaged file aside, to a new name beside it.
///
/// # Errors
/// The file cannot be renamed.
pub fn set_aside(path: &Path, reason: String) -> io::Result<SetAside> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{}", now_ms()));
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)?;
    let aside = SetAside {
        path: aside,
        reason,
    };
    tracing::error!("{aside}");
    Ok(aside)
}
