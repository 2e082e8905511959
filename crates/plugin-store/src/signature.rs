//! Makes and verifies signatures of components in the format of minisign (Ed25519 over the BLAKE2b
//! hash of the bytes). `minisign -V` verifies them as well.

use std::fs;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use minisign::{PError, PublicKey, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};
use serde::{Deserialize, Serialize};

use crate::regular_file;

/// Maximum size of a signature, in bytes. A signature has four short lines.
pub const SIGNATURE_BYTES: u64 = 4096;
/// Lengths of the two signatures in a signature file: that of the bytes with the number of its key,
/// and that of the comment. Both are in base64.
const SIGNATURE_CHARS: usize = 100;
const COMMENT_SIGNATURE_CHARS: usize = 88;
/// Maximum size of a public key, in bytes. A public key has two short lines.
const KEY_BYTES: u64 = 4096;

/// Public key whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// Name of the key's owner.
    pub name: String,
    /// Key as minisign writes it: the second line of the `.pub` file.
    pub key: String,
}

impl TrustedKey {
    /// Parses the contents of minisign's `.pub` file, or its second line alone.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let line = text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or_default();
        let key = Self {
            name: name.to_owned(),
            key: line.to_owned(),
        };
        key.public()?;
        Ok(key)
    }

    fn public(&self) -> Result<PublicKey, String> {
        PublicKey::from_base64(&self.key)
            .or_else(|_| {
                PublicKeyBox::from_string(&self.key).and_then(PublicKeyBox::into_public_key)
            })
            .map_err(|error| {
                format!(
                    "the key of `{}` is not one of minisign's: {error}",
                    self.name
                )
            })
    }
}

/// New key pair, as the contents of minisign's files.
pub struct KeyPair {
    /// Contents of the `.key` file, to be kept secret.
    pub secret: String,
    /// Contents of the `.pub` file, to be given away.
    pub public: String,
}

impl KeyPair {
    /// Makes a key pair. The password protects the secret key. Without a password, anyone with the
    /// file can sign.
    ///
    /// # Errors
    /// Returns the reason if the key pair can't be made.
    pub fn generate(password: Option<String>) -> Result<Self, String> {
        let reason = |error: PError| error.to_string();
        let pair = match password {
            Some(password) => minisign::KeyPair::generate_encrypted_keypair(Some(password)),
            None => minisign::KeyPair::generate_unencrypted_keypair(),
        }
        .map_err(reason)?;
        Ok(Self {
            secret: pair.sk.to_box(None).map_err(reason)?.into_string(),
            public: pair.pk.to_box().map_err(reason)?.into_string(),
        })
    }
}

/// Secret key that makes signatures.
pub struct SigningKey(SecretKey);

impl SigningKey {
    /// Parses the contents of minisign's `.key` file, and unlocks the key with its password, if it
    /// has one.
    ///
    /// # Errors
    /// Returns the reason if the text is not a key, or if the password does not unlock it.
    pub fn parse(text: &str, password: Option<String>) -> Result<Self, String> {
        let reason = |error: PError| error.to_string();
        let locked = SecretKeyBox::from_string(text).map_err(reason)?;
        let key = match password {
            Some(password) => locked.into_secret_key(Some(password)).map_err(reason)?,
            None => locked.into_unencrypted_secret_key().map_err(|error| {
                format!("{error}; give its password with --password-file if it has one")
            })?,
        };
        Ok(Self(key))
    }

    /// Signs the bytes of a file named `name`. Returns the contents of the `.minisig` file.
    ///
    /// # Errors
    /// Returns the reason if the bytes can't be read.
    pub fn sign(&self, bytes: impl Read, name: &str) -> Result<String, String> {
        let comment = format!("file:{name}");
        minisign::sign(None, &self.0, bytes, Some(&comment), None)
            .map(|signature| signature.into_string())
            .map_err(|error| error.to_string())
    }
}

/// Reads the keys in a folder, in one `NAME.pub` each. A missing folder has no keys.
pub fn trusted_in(folder: &Path) -> Result<Vec<TrustedKey>, String> {
    let with_path =
        |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(with_path(folder, &error)),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| with_path(folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "pub") {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text =
                regular_file::read(&path, KEY_BYTES).map_err(|error| with_path(&path, &error))?;
            let text = String::from_utf8_lossy(&text);
            keys.push(TrustedKey::parse(&name, &text).map_err(|error| with_path(&path, &error))?);
        }
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(keys)
}

/// Returns the name of the key that signed the bytes. The error tells the defect of the signature.
/// The text of the signature comes from outside, so that not even a panic over it leaves this
/// function.
pub fn signer(bytes: &[u8], signature: &str, trusted: &[TrustedKey]) -> Result<String, String> {
    catch_unwind(AssertUnwindSafe(|| verified(bytes, signature, trusted)))
        .unwrap_or_else(|_| Err("the signature can't be read".to_owned()))
}

/// Checks the form of a signature file, before minisign parses it. minisign takes the lengths of
/// the two signatures for granted.
fn check_form(text: &str) -> Result<(), String> {
    if text.len() as u64 > SIGNATURE_BYTES {
        return Err(format!(
            "the signature can't be read: it is larger than {SIGNATURE_BYTES} bytes"
        ));
    }
    let mut lines = text.lines().map(|line| line.trim().len());
    let (_, bytes, _, comment) = (lines.next(), lines.next(), lines.next(), lines.next());
    if (bytes, comment) != (Some(SIGNATURE_CHARS), Some(COMMENT_SIGNATURE_CHARS)) {
        return Err(
            "the signature can't be read: its second or fourth line has another length than a signature"
                .to_owned(),
        );
    }
    Ok(())
}

fn verified(bytes: &[u8], signature: &str, trusted: &[TrustedKey]) -> Result<String, String> {
    check_form(signature)?;
    let signature = SignatureBox::from_string(signature)
        .map_err(|error| format!("the signature can't be read: {error}"))?;
    for key in trusted {
        let public = key.public()?;
        if public.keynum() == signature.keynum() {
            return minisign::verify(&public, &signature, Cursor::new(bytes), true, false, false)
                .map(|()| key.name.clone())
                .map_err(|error| {
                    format!(
                        "the signature with the key of `{}` does not fit the bytes: {error}",
                        key.name
                    )
                });
        }
    }
    let keynum: String = signature
        .keynum()
        .iter()
        .rev()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    Err(format!(
        "the key {keynum} that signed it is not trusted; `anomalyzer plugins trust` adds one"
    ))
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;
    use proptest::prelude::*;

    use super::*;

    fn pair(name: &str) -> (KeyPair, TrustedKey) {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let key = TrustedKey::parse(name, &pair.pk.to_box().unwrap().into_string()).unwrap();
        (pair, key)
    }

    #[test]
    fn the_name_behind_a_signature_is_told_and_anything_else_refused() {
        let ((ours, key), (_, other)) = (pair("ada"), pair("eve"));
        let sign = |bytes: &[u8]| {
            minisign::sign(None, &ours.sk, Cursor::new(bytes), None, None)
                .unwrap()
                .into_string()
        };
        let signature = sign(b"component");
        assert_eq!(
            signer(b"component", &signature, &[other.clone(), key.clone()]),
            Ok("ada".to_owned())
        );
        assert!(
            signer(b"Component", &signature, std::slice::from_ref(&key))
                .unwrap_err()
                .contains("does not fit")
        );
        assert!(
            signer(b"component", &signature, &[other])
                .unwrap_err()
                .contains("not trusted")
        );
        assert!(
            signer(b"component", "no signature", &[key])
                .unwrap_err()
                .contains("can't be read")
        );
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_signature(text in "\\PC{0,400}", cut in 0_usize..400, at in 0_usize..400) {
            let (ours, key) = pair("ada");
            let signature = minisign::sign(None, &ours.sk, Cursor::new(b"component"), None, None);
            let signature = signature.unwrap().into_string();
            let keys = std::slice::from_ref(&key);
            prop_assert!(signer(b"component", &text, keys).is_err());
            let mut changed: Vec<char> = signature.chars().collect();
            let at = at % changed.len();
            changed.drain(at..(at + cut).min(changed.len()));
            let changed: String = changed.into_iter().collect();
            // Without the net of `signer`, which catches panics.
            let _ = verified(b"component", &changed, keys);
        }

        #[test]
        fn no_signature_with_another_line_panics(
            which in 0_usize..4,
            line in "[A-Za-z0-9+/= :\u{e9}\u{1f600}]{0,120}",
            keep in 0_usize..110,
        ) {
            let (ours, key) = pair("ada");
            let signature = minisign::sign(None, &ours.sk, Cursor::new(b"component"), None, None);
            let signature = signature.unwrap().into_string();
            let lines: Vec<&str> = signature.lines().collect();
            let cut: String = lines[which].chars().take(keep).collect();
            let padded = format!("{cut}{}", "=".repeat(lines[which].len().saturating_sub(keep)));
            for other in [line, cut, padded] {
                let mut lines = lines.clone();
                lines[which] = &other;
                let _ = verified(b"component", &lines.join("\n"), std::slice::from_ref(&key));
            }
        }
    }

    #[test]
    fn a_signature_file_is_bounded_and_its_signatures_have_their_lengths() {
        let (ours, key) = pair("ada");
        let signature = minisign::sign(None, &ours.sk, Cursor::new(b"component"), None, None);
        let good = signature.unwrap().into_string();
        let keys = std::slice::from_ref(&key);
        assert_eq!(verified(b"component", &good, keys), Ok("ada".to_owned()));
        let mut lines: Vec<&str> = good.lines().collect();
        let last = lines.pop().unwrap();
        // A valid signature of the bytes, and a part of the signature of the comment.
        for part in [0, 4, 40, 84] {
            let cut = format!("{}\n{}\n", lines.join("\n"), &last[..part]);
            let refused = verified(b"component", &cut, keys).unwrap_err();
            assert!(refused.contains("another length"), "{part}: {refused}");
        }
        let long = good.replacen("comment:", &format!("comment: {}", "x".repeat(5_000)), 1);
        let refused = verified(b"component", &long, keys).unwrap_err();
        assert!(refused.contains("larger than 4096 bytes"), "{refused}");
    }

    #[test]
    fn keys_are_read_from_files_as_minisign_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(trusted_in(&folder.path().join("nothing")), Ok(vec![]));
        let (pair, key) = pair("ada");
        fs::write(
            folder.path().join("ada.pub"),
            pair.pk.to_box().unwrap().into_string(),
        )
        .unwrap();
        assert_eq!(trusted_in(folder.path()), Ok(vec![key]));
        fs::write(folder.path().join("bad.pub"), "x").unwrap();
        assert!(trusted_in(folder.path()).unwrap_err().contains("bad.pub"));
    }
}
