//! Reads the text of a file in the usual encodings.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Maximum size of a file, in bytes. A row needs about four times its own size in memory.
pub const MAX_BYTES: u64 = 512 << 20;
/// Number of bytes at the beginning of a file that show its encoding.
const SNIFFED: usize = 4096;

/// Input file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}", path = .path.display())]
pub struct CsvError {
    /// Path of the file.
    pub path: PathBuf,
    /// Reason, with the remedy.
    pub reason: String,
}

impl CsvError {
    /// Returns the error of a file that cannot be used.
    pub fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Reads the text of a file.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a regular file, is too large, or holds no
/// text.
pub(super) fn read(path: &Path) -> Result<String, CsvError> {
    let wrong = |reason: String| CsvError::new(path, reason);
    // A pipe is checked before it is opened, because the open waits for a writer.
    let metadata = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.is_dir() {
        return Err(wrong("it is a folder: name a file in it".to_owned()));
    }
    if !metadata.is_file() {
        let why = "it is a pipe or a device: write its content to a file first";
        return Err(wrong(why.to_owned()));
    }
    let too_large = || {
        let most = MAX_BYTES >> 20;
        wrong(format!(
            "it is larger than {most} MiB, the most that is read: split it"
        ))
    };
    if metadata.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // The file may grow meanwhile, and files of the kernel have no size.
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    decode(bytes).map_err(wrong)
}

/// Decodes UTF-8, UTF-16 and Windows-1252.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if let Some(kind) = known_binary(&bytes) {
        return Err(format!("it is {kind}, not text: export it as CSV"));
    }
    let text = match encoding(&bytes) {
        Some(encoding) if encoding != UTF_8 => encoding.decode_with_bom_removal(&bytes).0.into(),
        _ => String::from_utf8(bytes).unwrap_or_else(|error| by_line(error.as_bytes())),
    };
    if text.contains('\0') {
        return Err("it is a binary file, not text: export it as CSV".to_owned());
    }
    Ok(text)
}

/// Returns the encoding that the byte order mark or the zero bytes at the beginning show.
fn encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return Some(encoding);
    }
    let sample = &bytes[..bytes.len().min(SNIFFED) & !1];
    let zeros = |parity: usize| {
        let at_parity = sample.iter().skip(parity).step_by(2);
        at_parity.filter(|byte| **byte == 0).count()
    };
    let most = |zeros: usize| zeros * 4 > sample.len();
    match (zeros(0), zeros(1)) {
        (0, odd) if most(odd) => Some(UTF_16LE),
        (even, 0) if most(even) => Some(UTF_16BE),
        _ => None,
    }
}

/// Decodes each line by itself, so that a line in Windows-1252 spoils no line in UTF-8.
fn by_line(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => text.push_str(&WINDOWS_1252.decode_without_bom_handling(line).0),
        }
    }
    text
}

fn known_binary(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 9] = [
        (b"\x1f\x8b", "compressed (gzip)"),
        (b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
        (b"\xfd7zXZ\0", "compressed (xz)"),
        (b"BZh", "compressed (bzip2)"),
        (b"PK\x03\x04", "a spreadsheet (xlsx) or another zip archive"),
        (b"\xd0\xcf\x11\xe0", "a spreadsheet (xls)"),
        (b"PAR1", "a Parquet file"),
        (b"SQLite format 3\0", "an SQLite file"),
        (b"%PDF-", "a PDF"),
    ];
    kinds
        .into_iter()
        .find_map(|(magic, kind)| bytes.starts_with(magic).then_some(kind))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn text_is_read_in_the_usual_encodings() {
        let text = "time,value,note\n1,2,Küche – 5 €\n";
        let utf_16 = |order: fn(u16) -> [u8; 2], mark: bool| {
            let mark = mark.then_some(0xfeff);
            mark.into_iter()
                .chain(text.encode_utf16())
                .flat_map(order)
                .collect::<Vec<u8>>()
        };
        for (name, bytes) in [
            ("utf-8", text.as_bytes().to_vec()),
            ("utf-16le", utf_16(u16::to_le_bytes, true)),
            ("utf-16be", utf_16(u16::to_be_bytes, true)),
            ("utf-16le without a mark", utf_16(u16::to_le_bytes, false)),
            ("utf-16be without a mark", utf_16(u16::to_be_bytes, false)),
            ("windows-1252", WINDOWS_1252.encode(text).0.into_owned()),
        ] {
            assert_eq!(decode(bytes).as_deref(), Ok(text), "{name}");
        }
        let mixed = [text.as_bytes(), b"3,4,\xfc\n"].concat();
        assert_eq!(decode(mixed).unwrap(), format!("{text}3,4,ü\n"));
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_with_its_kind() {
        for (bytes, says) in [
            (&b"\x1f\x8b\x08"[..], "gzip"),
            (b"PK\x03\x04rest", "xlsx"),
            (b"PAR1", "Parquet"),
            (b"1,2\n\0\0\x01\xff", "binary"),
            (&[0; 64], "binary"),
        ] {
            let error = decode(bytes.to_vec()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn only_a_regular_file_of_a_bounded_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let large = File::create(at("large.csv")).unwrap();
        large.set_len(MAX_BYTES + 1).unwrap();
        let made = Command::new("mkfifo").arg(at("pipe.csv")).status().unwrap();
        assert!(made.success());
        for (name, says) in [
            ("large.csv", "larger than 512 MiB"),
            ("pipe.csv", "a pipe or a device"),
            (".", "a folder"),
            ("gone.csv", "No such file"),
        ] {
            let error = read(&at(name)).unwrap_err().to_string();
            assert!(
                error.contains(says) && error.contains("cannot read "),
                "{error}"
            );
        }
    }
}
