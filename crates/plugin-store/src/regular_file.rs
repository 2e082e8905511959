//! Reads files that other people can replace. A named pipe or a device in the place of a file is
//! an error, and never blocks the reader.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a regular file of at most `max` bytes, even if it grows meanwhile.
///
/// # Errors
/// Returns an error if the file can't be read, is no regular file, or is larger than `max` bytes.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Opens a regular file for reading.
fn open(path: &Path) -> io::Result<File> {
    let irregular = || io::Error::other("it is no regular file, but a folder, a pipe or a device");
    // Opening a device may have an effect, so that its kind is checked before. The file may be
    // replaced between the check and the opening, so that the opening does not block either.
    if !fs::metadata(path)?.is_file() {
        return Err(irregular());
    }
    let flags = OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(irregular()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a named pipe that nobody writes to.
    fn pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[test]
    fn only_a_regular_file_within_its_bound_is_read_and_nothing_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), b"12345").unwrap();
        pipe(&path("pipe"));
        assert_eq!(read(&path("file"), 5).unwrap(), b"12345");
        let told = |path: &Path, max| read(path, max).unwrap_err().to_string();
        assert!(told(&path("file"), 4).contains("larger than 4 bytes"));
        for irregular in [&path("pipe"), folder.path(), Path::new("/dev/zero")] {
            assert!(
                told(irregular, 5).contains("no regular file"),
                "{irregular:?}"
            );
        }
        assert_eq!(
            read(&path("none"), 5).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
