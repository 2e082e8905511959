//! Small files that the configuration names for a secret: a token, a header or an address.

use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;

/// Maximum size of the file, in bytes.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Reads the text of the file. A pipe in its place is an error and does not block.
///
/// # Errors
/// Returns an error if the file can't be read, is no regular file, is too large, or is no text.
pub async fn read(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    // The file system may be a slow one.
    spawn_blocking(move || anomalyzer_regular_file::read_text(&path, MAX_SECRET_BYTES))
        .await
        .map_err(io::Error::other)?
}
