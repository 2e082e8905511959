//! Small files of JSON that hold over restarts.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is in the file; the default where there is none.
///
/// # Errors
/// It is there, and can't be read or is no such thing.
pub(crate) fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, String> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// A new file in place of the old one: a crash leaves one of both, whole. Durable when this returns.
///
/// # Errors
/// It can't be written.
pub(crate) async fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), String> {
    let bytes = serde_json::to_vec_pretty(content).map_err(|error| error.to_string())?;
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        std::fs::File::open(folder)?.sync_all()
    });
    written.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
