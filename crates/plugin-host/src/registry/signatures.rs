//! Checks the signatures of plugins, whenever code is opened and whenever the trusted keys change.

use std::path::Path;

use serde_json::json;

use super::{Registry, Signature};
use crate::compile::Turn;
use crate::regular_file;
use crate::signature;
use crate::signature::{SIGNATURE_BYTES, TrustedKey};
use anomalyzer_domain::{PluginChangeKind, Version};

const UNSIGNED: &str =
    "it is not signed, and `require_signature` is on; sign it with `anomalyzer plugins sign`";

impl Registry {
    pub(super) fn trusted_keys(&self) -> Result<Vec<TrustedKey>, String> {
        let mut keys = self.trusted.clone();
        if let Some(folder) = &self.trusted_folder {
            keys.extend(signature::trusted_in(folder)?);
        }
        Ok(keys)
    }

    /// Checks the signature in the file `path`, if there is one.
    pub(super) fn signed(&self, bytes: &[u8], path: &Path) -> Result<Option<Signature>, String> {
        let signature = match regular_file::read(path, SIGNATURE_BYTES) {
            Ok(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("its signature {}: {error}", path.display())),
        };
        self.check_signature(bytes, signature.as_deref())
    }

    /// Returns the signature with its signer. Refuses a signature that does not fit, even if no
    /// signature is required.
    pub(super) fn check_signature(
        &self,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<Option<Signature>, String> {
        match signature {
            Some(text) => {
                let signer = signature::signer(bytes, text, &self.trusted_keys()?)?;
                let text = text.to_owned();
                Ok(Some(Signature { text, signer }))
            }
            None if self.require_signature => Err(UNSIGNED.to_owned()),
            None => Ok(None),
        }
    }

    /// Checks the signature of a stored version against the keys that are trusted now.
    pub(super) fn check_stored_signature(
        &self,
        bytes: &[u8],
        version: &Version,
    ) -> Result<(), String> {
        let stored = match &self.repository {
            Some(repository) => repository.signature(&version.digest)?,
            None => None,
        };
        match (&stored, &version.signed_by) {
            // Earlier releases checked the signature and kept the name of the signer only.
            (None, Some(signer)) => {
                let keys = self.trusted_keys()?;
                match keys.iter().any(|key| key.name == *signer) {
                    true => Ok(()),
                    false => Err(format!(
                        "the key of `{signer}`, who signed it, is not trusted any more; `anomalyzer plugins trust` \
                         adds a key"
                    )),
                }
            }
            (stored, _) => self.check_signature(bytes, stored.as_deref()).map(drop),
        }
    }

    /// Checks the live versions again after the trusted keys changed: takes those out whose
    /// signature does not count any more, and takes those in whose signature counts again.
    pub(crate) fn follow_keys(&self) {
        // Keys that can't be read change nothing. Opening code reports the reason.
        let Ok(keys) = self.trusted_keys() else {
            return;
        };
        if *self.keys_seen.lock() == keys {
            return;
        }
        let live: Vec<(String, Version)> = self.read(|table| {
            let records = table.entries.values().map(|entry| &entry.record);
            records
                .filter_map(|record| Some((record.name.clone(), record.live()?.clone())))
                .collect()
        });
        for (name, version) in live {
            self.follow_keys_of(&name, &version);
        }
        *self.keys_seen.lock() = keys;
    }

    fn follow_keys_of(&self, name: &str, version: &Version) {
        let Some(repository) = &self.repository else {
            return;
        };
        let most = self.runtime.limits.max_component_bytes;
        let Ok(bytes) = repository.bytes(&version.digest, most) else {
            return;
        };
        let trusted = self.check_stored_signature(&bytes, version);
        let is_live = self.read(|table| {
            let entry = table.entries.get(name);
            entry.is_some_and(|entry| entry.live.is_some())
        });
        match trusted {
            Err(reason) if is_live => {
                let _changing = self.changing.lock();
                self.write(|table| {
                    if let Some(entry) = table.entries.get_mut(name) {
                        (entry.live, entry.problem) = (None, Some(format!("{name}: {reason}")));
                    }
                });
                tracing::error!(plugin = name, reason, "live plugin version is not trusted");
                let digest = Some(version.digest.clone());
                let detail = json!({ "reason": reason });
                self.change(name, PluginChangeKind::Refused, "host", digest, detail);
                self.moved();
            }
            Ok(()) if !is_live => {
                let turn = Turn {
                    uploader: false,
                    cancel: &tokio_util::sync::CancellationToken::new(),
                };
                let opened = self.open_stored(name, &version.digest, &turn);
                let _changing = self.changing.lock();
                let opened = opened.map_err(|error| error.to_string());
                self.show_live(name, &version.digest, opened);
                self.moved();
            }
            _ => {}
        }
    }
}

/// Returns the path of the signature of `path`, as minisign names it: `spike.wasm.minisig` beside
/// `spike.wasm`.
pub(super) fn path_of_signature(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}
