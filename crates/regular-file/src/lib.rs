//! Opens and reads files that other people can replace. A named pipe, a device or a folder in the
//! place of a file is an error, and never blocks the caller. Each read has a bound.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Mode of a new file: only its owner has access.
const PRIVATE: u32 = 0o600;

/// Reads a regular file of at most `max` bytes, even if it grows meanwhile.
///
/// # Errors
/// Returns an error if the file can't be read, is no regular file, or is larger than `max` bytes.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, OpenOptions::new().read(true))?
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

/// Reads the text of a regular file of at most `max` bytes.
///
/// # Errors
/// Returns an error like [`read`], or if the file is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Opens a regular file to read and to write. Creates the file if it does not exist, with access
/// for its owner only. Keeps the content of a file that exists.
///
/// # Errors
/// Returns an error if the file can't be opened or created, or is no regular file.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE);
    open(path, &mut options)
}

/// Opens a regular file.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let irregular = || io::Error::other("it is no regular file, but a folder, a pipe or a device");
    // Opening a device may have an effect, so that its kind is checked before. The file may be
    // replaced between the check and the opening, so that the opening does not block either.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(irregular()),
        // Only the opening knows whether a missing file is an error.
        Ok(_) | Err(_) => {}
    }
    let flags = OFlags::NONBLOCK.bits();
    let file = options.custom_flags(flags.cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(irregular()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Makes a named pipe that nobody writes to.
    fn pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn only_a_regular_file_within_its_bound_is_read_and_nothing_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), b"12345").unwrap();
        fs::write(path("binary"), b"\xff").unwrap();
        pipe(&path("pipe"));
        File::create(path("sparse"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        assert_eq!(read(&path("file"), 5).unwrap(), b"12345");
        assert_eq!(read_text(&path("link"), 5).unwrap(), "12345");
        let told = |path: &Path, max| read(path, max).unwrap_err().to_string();
        for large in ["file", "sparse"] {
            assert!(told(&path(large), 4).contains("larger than 4 bytes"));
        }
        for irregular in [&path("pipe"), folder.path(), Path::new("/dev/zero")] {
            let why = told(irregular, 5);
            assert!(why.contains("no regular file"), "{irregular:?}: {why}");
            let why = open_or_create(irregular).unwrap_err().to_string();
            assert!(why.contains("no regular file"), "{irregular:?}: {why}");
        }
        let kind = |name: &str| read_text(&path(name), 5).unwrap_err().kind();
        assert_eq!(kind("none"), io::ErrorKind::NotFound);
        assert_eq!(kind("binary"), io::ErrorKind::InvalidData);
        assert!(read(&path("loop"), 5).is_err() && open_or_create(&path("loop")).is_err());
    }

    #[test]
    fn a_new_file_is_private_and_an_old_one_keeps_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mode = open_or_create(&path).unwrap().metadata().unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, PRIVATE);
        fs::write(&path, "kept").unwrap();
        drop(open_or_create(&path).unwrap());
        assert_eq!(read_text(&path, 4).unwrap(), "kept");
    }
}
