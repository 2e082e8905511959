//! Checks the signatures of plugins.

use std::path::Path;

use super::Registry;
use crate::plugin::signature::{self, SIGNATURE_BYTES, TrustedKey};

impl Registry {
    pub(super) fn trusted_keys(&self) -> Result<Vec<TrustedKey>, String> {
        let mut keys = self.trusted.clone();
        if let Some(folder) = &self.trusted_folder {
            keys.extend(signature::trusted_in(folder)?);
        }
        Ok(keys)
    }

    pub(super) fn signed(&self, bytes: &[u8], path: &Path) -> Result<Option<String>, String> {
        let signature = match std::fs::metadata(path) {
            Ok(file) if file.len() <= SIGNATURE_BYTES => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            ),
            Ok(_) => return Err(format!("{} is too large for a signature", path.display())),
            Err(_) => None,
        };
        self.check_signature(bytes, signature.as_deref())
    }

    /// Returns the name of the signer. Refuses a signature that does not fit, even if no signature
    /// is required.
    pub(super) fn check_signature(
        &self,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<Option<String>, String> {
        match signature {
            Some(signature) => signature::signer(bytes, signature, &self.trusted_keys()?).map(Some),
            None if self.require_signature => {
                Err("it is not signed, and `require_signature` is on; sign it with `anomalyzer plugins sign`"
                    .to_owned())
            }
            None => Ok(None),
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
