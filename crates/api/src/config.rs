//! The table `api`: the addresses of the API, and the tokens that may use it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use anomalyzer_domain::ConfigIssue;

/// The table `api`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Address of the server.
    pub listen: SocketAddr,
    /// Address of the engine (`/health` and `/metrics` only).
    pub engine_listen: SocketAddr,
    /// Tokens. With at least one, a request without a token gets the bare `/health` only.
    pub tokens: Vec<Token>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: loopback(9000),
            engine_listen: loopback(5000),
            tokens: Vec::new(),
        }
    }
}

/// An entry of `[[api.tokens]]`. The secret itself stays out of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Name of the token, recorded with every change made by it.
    pub name: String,
    /// Rights of the token.
    pub role: Role,
    /// SHA-256 of the token in hex. Set either this or `file`.
    #[serde(default)]
    pub sha256: Option<String>,
    /// File that holds the token, at least 16 bytes. Set either this or `sha256`.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// Rights of a caller. Every role may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Reads only.
    Viewer,
    /// Requests actions, and answers held decisions.
    Approver,
    /// Uploads plugins.
    Uploader,
    /// May do everything.
    Admin,
}

impl Role {
    /// Returns the name in the configuration.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl ApiConfig {
    /// Checks everything that can be checked without reading the token files.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        for (key, address) in [
            ("listen", self.listen),
            ("engine_listen", self.engine_listen),
        ] {
            if !address.ip().is_loopback() && self.tokens.is_empty() {
                let message = format!(
                    "api.{key} = \"{address}\" is not a loopback address and there is no [[api.tokens]]: everybody who can reach it could \
                     act; add a token, or listen on 127.0.0.1"
                );
                return Err(ConfigIssue::at(key, message));
            }
        }
        for (index, token) in self.tokens.iter().enumerate() {
            let name = &token.name;
            if name.trim().is_empty()
                || self.tokens[..index].iter().any(|other| other.name == *name)
            {
                let message = format!(
                    "api.tokens: the name `{name}` is empty or given twice; give each token a name of its own"
                );
                return Err(token_issue(index, message));
            }
            if token.sha256.is_some() == token.file.is_some() {
                return Err(token_issue(index, token.needs_one_secret()));
            }
            token
                .stated_hash()
                .map_err(|message| token_issue(index, message))?;
        }
        Ok(())
    }
}

/// Returns an issue of the token at `index`.
pub(super) fn token_issue(index: usize, message: String) -> ConfigIssue {
    ConfigIssue::at(index, message).within("tokens")
}

impl Token {
    /// Returns the message for a token with both `sha256` and `file`, or with neither.
    pub(super) fn needs_one_secret(&self) -> String {
        format!("api.tokens `{}`: set either sha256 or file", self.name)
    }

    /// Returns the hash if the configuration states it, and `None` if the file holds the token.
    pub(super) fn stated_hash(&self) -> Result<Option<[u8; 32]>, String> {
        let Some(text) = &self.sha256 else {
            return Ok(None);
        };
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| {
            format!(
                "api.tokens `{}`: sha256 is not 64 hex digits; make it with `printf %s TOKEN | sha256sum`",
                self.name
            )
        })?;
        Ok(Some(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ApiConfig, String> {
        let config: ApiConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_names_of_the_roles_are_those_in_the_configuration() {
        for name in ["viewer", "approver", "uploader", "admin"] {
            let role: Role = serde_json::from_value(name.into()).unwrap();
            assert_eq!(role.as_str(), name);
        }
    }

    #[test]
    fn it_listens_on_loopback_unless_told_otherwise() {
        assert_eq!(read("").unwrap(), ApiConfig::default());
        assert_eq!(ApiConfig::default().listen.to_string(), "127.0.0.1:9000");
    }

    #[test]
    fn it_refuses_to_listen_elsewhere_without_tokens() {
        for text in [
            "listen = '0.0.0.0:9000'",
            "engine_listen = '[::]:5000'",
            "listen = '192.168.0.1:9000'",
        ] {
            assert!(read(text).unwrap_err().contains("add a token"), "{text}");
        }
        let token = format!(
            "tokens = [{{ name = 'a', role = 'viewer', sha256 = '{}' }}]",
            "0f".repeat(32)
        );
        read(&format!("listen = '0.0.0.0:9000'\n{token}")).unwrap();
    }

    #[test]
    fn a_token_that_cannot_work_is_refused() {
        for (tokens, why) in [
            ("{ name = '', role = 'viewer', file = 'a' }", "empty"),
            (
                "{ name = 'a', role = 'admin', file = 'a' }, { name = 'a', role = 'viewer', file = 'b' }",
                "given twice",
            ),
            ("{ name = 'a', role = 'admin' }", "either"),
            (
                "{ name = 'a', role = 'admin', sha256 = 'abc' }",
                "64 hex digits",
            ),
            (
                "{ name = 'a', role = 'root', file = 'a' }",
                "unknown variant `root`",
            ),
            (
                "{ name = 'a', role = 'admin', token = 'secret' }",
                "unknown field `token`",
            ),
        ] {
            let error = read(&format!("tokens = [{tokens}]")).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
