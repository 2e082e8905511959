//! `anomalyzer plugins keygen|sign|verify|trust`: makes and verifies signatures, compatible with
//! `minisign`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Subcommand;
use serde_json::json;

use super::super::Output;
use anomalyzer_plugin_host::{KeyPair, STORE, SigningKey, TrustedKey, signer, trusted_in};

/// Subcommands for signatures.
#[derive(Clone, Debug, Subcommand)]
pub enum Sign {
    /// Make a key pair: NAME.key, to be kept secret, and NAME.pub, to be given away.
    Keygen {
        /// Path of the key files, without the extensions.
        #[arg(value_name = "NAME")]
        path: PathBuf,
        /// A file with a password that protects the key. Without a password, anyone with the file
        /// can sign.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Sign components: writes FILE.minisig beside each.
    Sign {
        /// The components.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The secret key, in the format of `keygen` or `minisign -G`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// A file with the key's password, if the key has one.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Show who signed a component. The exit code is 1 if none of the keys did.
    Verify {
        /// The component; FILE.minisig must be beside it.
        file: PathBuf,
        /// A public key. By default, all keys that the data folder trusts.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The folder in which the service keeps its data.
        #[arg(long, value_name = "DIR", default_value = "anomalyzer-data")]
        data_dir: PathBuf,
    },
    /// Trust a key, or list the trusted keys.
    Trust {
        /// The public key to trust. Without a key, the trusted keys are listed.
        key: Option<PathBuf>,
        /// Name of the key's owner; by default the name of the file.
        #[arg(long)]
        name: Option<String>,
        /// The folder in which the service keeps its data.
        #[arg(long, value_name = "DIR", default_value = "anomalyzer-data")]
        data_dir: PathBuf,
    },
}

/// Error of signing or verifying.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A file can't be read, written or used.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the failure.
        reason: String,
    },
    /// The name can't be used as the name of a file.
    #[error("`{0}` can't be the name of a key: use letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

fn at(path: &Path) -> impl Fn(&dyn std::fmt::Display) -> SignError {
    let path = path.to_owned();
    move |reason| SignError::File {
        path: path.clone(),
        reason: reason.to_string(),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn text_of(path: &Path) -> Result<String, SignError> {
    fs::read_to_string(path).map_err(|error| at(path)(&error))
}

/// Runs the subcommand. Returns true unless a signature was verified and is not good.
pub fn run<W: Write>(what: Sign, output: Output, out: &mut W) -> Result<bool, SignError> {
    match what {
        Sign::Keygen {
            path,
            password_file,
        } => {
            let (key, public) = (beside(&path, ".key"), beside(&path, ".pub"));
            keygen(&key, &public, password_file.as_deref())?;
            match output {
                Output::Text => writeln!(
                    out,
                    "{} signs, keep it to yourself; {} is for those who trust you",
                    key.display(),
                    public.display()
                )?,
                Output::Json => writeln!(out, "{}", json!({ "key": key, "public": public }))?,
            }
        }
        Sign::Sign {
            files,
            key,
            password_file,
        } => {
            let secret = secret_key(&key, password_file.as_deref())?;
            for file in files {
                let signature = beside(&file, ".minisig");
                let bytes = File::open(&file).map_err(|error| at(&file)(&error))?;
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let signed = secret
                    .sign(bytes, &name)
                    .map_err(|reason| at(&file)(&reason))?;
                fs::write(&signature, signed).map_err(|error| at(&signature)(&error))?;
                match output {
                    Output::Text => writeln!(out, "{}", signature.display())?,
                    Output::Json => {
                        writeln!(out, "{}", json!({ "file": file, "signature": signature }))?;
                    }
                }
            }
        }
        Sign::Verify {
            file,
            key,
            data_dir,
        } => {
            let keys = match key {
                Some(path) => vec![read_key(&path, None)?],
                None => trusted(&data_dir)?,
            };
            let bytes = fs::read(&file).map_err(|error| at(&file)(&error))?;
            let signature = text_of(&beside(&file, ".minisig"))?;
            let result = signer(&bytes, &signature, &keys);
            match (output, &result) {
                (Output::Text, Ok(name)) => {
                    writeln!(out, "{} was signed by {name}", file.display())?;
                }
                (Output::Text, Err(reason)) => writeln!(out, "{}: {reason}", file.display())?,
                (Output::Json, result) => {
                    let (signed_by, reason) = (result.as_ref().ok(), result.as_ref().err());
                    writeln!(
                        out,
                        "{}",
                        json!({ "file": file, "signed_by": signed_by, "reason": reason })
                    )?;
                }
            }
            return Ok(result.is_ok());
        }
        Sign::Trust {
            key: None,
            name: _,
            data_dir,
        } => {
            for key in trusted(&data_dir)? {
                match output {
                    Output::Text => writeln!(out, "{:<20} {}", key.name, key.key)?,
                    Output::Json => writeln!(out, "{}", json!(key))?,
                }
            }
        }
        Sign::Trust {
            key: Some(path),
            name,
            data_dir,
        } => {
            let key = read_key(&path, name)?;
            let folder = folder(&data_dir);
            fs::create_dir_all(&folder).map_err(|error| at(&folder)(&error))?;
            let file = folder.join(format!("{}.pub", key.name));
            fs::write(
                &file,
                format!("untrusted comment: {}\n{}\n", key.name, key.key),
            )
            .map_err(|error| at(&file)(&error))?;
            match output {
                Output::Text => writeln!(out, "signatures of {} count from now on", key.name)?,
                Output::Json => writeln!(out, "{}", json!(key))?,
            }
        }
    }
    Ok(true)
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE).join("trusted")
}

fn trusted(data_dir: &Path) -> Result<Vec<TrustedKey>, SignError> {
    let folder = folder(data_dir);
    trusted_in(&folder).map_err(|reason| at(&folder)(&reason))
}

fn read_key(path: &Path, name: Option<String>) -> Result<TrustedKey, SignError> {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let name = name.unwrap_or(stem);
    let proper = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.chars().all(proper) {
        return Err(SignError::Name(name));
    }
    TrustedKey::parse(&name, &text_of(path)?).map_err(|reason| at(path)(&reason))
}

fn password(file: Option<&Path>) -> Result<Option<String>, SignError> {
    file.map(|path| Ok(text_of(path)?.trim_end_matches(['\r', '\n']).to_owned()))
        .transpose()
}

fn keygen(key: &Path, public: &Path, password_file: Option<&Path>) -> Result<(), SignError> {
    let pair = KeyPair::generate(password(password_file)?).map_err(|reason| at(key)(&reason))?;
    // Never overwrite a key. Nobody could make signatures with the lost key again.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(key)
        .map_err(|error| at(key)(&error))?;
    file.write_all(pair.secret.as_bytes())
        .map_err(|error| at(key)(&error))?;
    fs::write(public, pair.public).map_err(|error| at(public)(&error))
}

fn secret_key(path: &Path, password_file: Option<&Path>) -> Result<SigningKey, SignError> {
    let text = text_of(path)?;
    SigningKey::parse(&text, password(password_file)?).map_err(|reason| at(path)(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(what: Sign) -> Result<(bool, String), String> {
        let mut out = Vec::new();
        let good = run(what, Output::Text, &mut out).map_err(|error| error.to_string())?;
        Ok((good, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn what_was_signed_is_verified_by_whoever_trusts_the_key_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let secret = path("password");
        fs::write(&secret, "open sesame\n").unwrap();
        said(Sign::Keygen {
            path: path("ada"),
            password_file: Some(secret.clone()),
        })
        .unwrap();
        let again = said(Sign::Keygen {
            path: path("ada"),
            password_file: None,
        })
        .unwrap_err();
        assert!(again.contains("exists"), "{again}");
        fs::write(path("a.wasm"), b"component").unwrap();
        let sign = |password_file| Sign::Sign {
            files: vec![path("a.wasm")],
            key: path("ada.key"),
            password_file,
        };
        assert!(said(sign(None)).unwrap_err().contains("--password-file"));
        said(sign(Some(secret))).unwrap();

        let data_dir = path("data");
        let verify = || {
            said(Sign::Verify {
                file: path("a.wasm"),
                key: None,
                data_dir: data_dir.clone(),
            })
            .unwrap()
        };
        assert!(!verify().0, "nobody is trusted yet");
        said(Sign::Trust {
            key: Some(path("ada.pub")),
            name: None,
            data_dir: data_dir.clone(),
        })
        .unwrap();
        let (good, text) = verify();
        assert!(good && text.contains("was signed by ada"), "{text}");
        let (_, list) = said(Sign::Trust {
            key: None,
            name: None,
            data_dir: data_dir.clone(),
        })
        .unwrap();
        assert!(list.starts_with("ada "), "{list}");
        fs::write(path("a.wasm"), b"component2").unwrap();
        let (good, text) = verify();
        assert!(!good && text.contains("does not fit"), "{text}");
    }

    #[test]
    fn a_name_that_would_lead_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada");
        said(Sign::Keygen {
            path: path.clone(),
            password_file: None,
        })
        .unwrap();
        let key = Some(path.with_extension("pub"));
        let data_dir = folder.path().to_owned();
        let error = said(Sign::Trust {
            key,
            name: Some("../ada".to_owned()),
            data_dir,
        })
        .unwrap_err();
        assert!(error.contains("can't be the name"), "{error}");
    }
}
