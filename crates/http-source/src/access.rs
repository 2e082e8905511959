//! Access to a server: credentials, headers and trust.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, RequestBuilder};
use serde::{Deserialize, Serialize};

use anomalyzer_common::secret_file;
use anomalyzer_domain::ConfigIssue;

use crate::{ClientError, SourceError};

/// Maximum size of a file with certificates, in bytes.
const MAX_CA_BYTES: u64 = 4 << 20;
/// Headers that the client sets itself.
const RESERVED: [&str; 7] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Credentials and headers of the requests to a server, and the trust in its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// Headers of each request, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, Secret>,
    /// Name and password, which are sent if there is no bearer token.
    pub basic_auth: Option<BasicAuth>,
    /// File with a bearer token. It is read again for each request, so that the token may change.
    pub bearer_token_file: Option<PathBuf>,
    /// File with the certificates (PEM) of the authorities to trust instead of those of the
    /// system.
    pub ca_file: Option<PathBuf>,
}

/// Name and password of a server with basic authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// Name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// A text that may be secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a text, { file = \"…\" } or { env = \"NAME\" } is expected"
)]
pub enum Secret {
    /// The text itself.
    Text(String),
    /// File that holds the text. It is read again for each request, so that the text may change.
    File {
        /// The file.
        file: PathBuf,
    },
    /// Variable of the environment that holds the text when the program starts.
    Env {
        /// Name of the variable.
        env: String,
    },
}

/// Hides the text itself.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("***"),
            Self::File { file } => write!(f, "{{ file = {} }}", file.display()),
            Self::Env { env } => write!(f, "{{ env = {env} }}"),
        }
    }
}

impl Secret {
    /// Replaces the name of a variable by its value.
    ///
    /// # Errors
    /// Returns the name of a variable that is not set.
    pub fn resolve(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        if let Self::Env { env } = self {
            match variable(env) {
                Some(value) => *self = Self::Text(value),
                None => return Err(std::mem::take(env)),
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<String, SourceError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File { file } => read_file(file).await,
            Self::Env { env } => Err(SourceError::Token {
                path: format!("the variable {env}"),
                reason: "it was not read at the start".to_owned(),
            }),
        }
    }
}

async fn read_file(file: &Path) -> Result<String, SourceError> {
    match secret_file::read(file).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(SourceError::Token {
            path: file.display().to_string(),
            reason: error.to_string(),
        }),
    }
}

impl AccessConfig {
    /// Checks the names and the values of the headers.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        for (name, value) in &self.headers {
            let wrong =
                |message: String| Err(ConfigIssue::at(name.as_str(), message).within("headers"));
            let Ok(parsed) = HeaderName::try_from(name) else {
                return wrong(format!("`{name}` is not the name of a header"));
            };
            if RESERVED.contains(&parsed.as_str()) {
                return wrong(format!("the header `{name}` is set by the client: drop it"));
            }
            if parsed == reqwest::header::AUTHORIZATION
                && (self.basic_auth.is_some() || self.bearer_token_file.is_some())
            {
                return wrong(format!(
                    "the header `{name}` and `basic_auth` or `bearer_token_file` exclude each other: drop one"
                ));
            }
            if let Secret::Text(text) = value
                && HeaderValue::try_from(text).is_err()
            {
                return wrong(format!(
                    "the header `{name}` has a value with a line break or another control character"
                ));
            }
        }
        Ok(())
    }

    /// Returns the files that this configuration names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let secrets = self
            .headers
            .values()
            .chain(self.basic_auth.as_ref().map(|basic| &basic.password));
        let secrets = secrets.filter_map(|secret| match secret {
            Secret::File { file } => Some(file),
            _ => None,
        });
        secrets.chain(&self.bearer_token_file).chain(&self.ca_file)
    }

    /// Returns the certificates of the authorities to trust, if the system's are not to be trusted.
    pub(super) fn authorities(&self) -> Result<Option<Vec<Certificate>>, ClientError> {
        let Some(file) = &self.ca_file else {
            return Ok(None);
        };
        let wrong = |reason: String| {
            let place = file.display();
            ClientError(format!(
                "`ca_file` {place}: {reason}; give a file with certificates in PEM"
            ))
        };
        let pem = anomalyzer_regular_file::read(file, MAX_CA_BYTES)
            .map_err(|error| wrong(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| wrong(anomalyzer_common::http_client::reason(error)))?;
        if certificates.is_empty() {
            return Err(wrong("it holds no certificate".to_owned()));
        }
        Ok(Some(certificates))
    }

    /// Adds the headers and the credentials to a request.
    pub(super) async fn authorize(
        &self,
        request: RequestBuilder,
    ) -> Result<RequestBuilder, SourceError> {
        let mut headers = HeaderMap::new();
        for (name, secret) in &self.headers {
            let value = HeaderValue::try_from(secret.read().await?);
            let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), value) else {
                return Err(SourceError::Token {
                    path: format!("the header {name}"),
                    reason: "its value holds a line break or another control character".to_owned(),
                });
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let request = request.headers(headers);
        Ok(match (&self.bearer_token_file, &self.basic_auth) {
            (Some(file), _) => request.bearer_auth(read_file(file).await?),
            (None, Some(BasicAuth { username, password })) => {
                request.basic_auth(username, Some(password.read().await?))
            }
            (None, None) => request,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AccessConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn headers_and_credentials_come_from_the_text_a_file_or_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\n").unwrap();
        let path = file.path().display();
        let mut access = read(&format!(
            "headers = {{ X-Scope-OrgID = 'team-a', X-Key = {{ file = '{path}' }}, X-Env = {{ env = 'KEY' }} }}\n\
             basic_auth = {{ username = 'u', password = {{ file = '{path}' }} }}"
        ))
        .unwrap();
        assert_eq!(access.validate(), Ok(()));
        assert_eq!(access.files().count(), 2);
        for secret in access.headers.values_mut() {
            secret
                .resolve(|name| (name == "KEY").then(|| "from-env".to_owned()))
                .unwrap();
        }
        let client = anomalyzer_common::http_client::client(std::time::Duration::from_secs(1));
        let request = client.unwrap().get("http://127.0.0.1:1");
        let request = access.authorize(request).await.unwrap().build().unwrap();
        for (name, value) in [
            ("x-scope-orgid", "team-a"),
            ("x-key", "from-file"),
            ("x-env", "from-env"),
            ("authorization", "Basic dTpmcm9tLWZpbGU="),
        ] {
            assert_eq!(request.headers()[name].to_str().unwrap(), value, "{name}");
        }
        let shown = format!("{access:?}");
        assert!(
            !shown.contains("team-a") && !shown.contains("from-env"),
            "{shown}"
        );
    }

    #[test]
    fn what_can_not_work_is_refused_with_the_reason() {
        for (text, says) in [
            ("headers = { 'a b' = 'x' }", "is not the name of a header"),
            ("headers = { Host = 'x' }", "is set by the client"),
            ("headers = { A = \"x\\ny\" }", "a line break"),
            (
                "bearer_token_file = 't'\nheaders = { Authorization = 'x' }",
                "exclude each other",
            ),
        ] {
            let issue = read(text).unwrap().validate().unwrap_err();
            assert!(issue.message.contains(says), "{text}: {}", issue.message);
        }
        for (text, says) in [
            ("headers = { A = 7 }", "a text, { file"),
            ("headers = { A = { path = 'x' } }", "a text, { file"),
            ("header = { A = 'x' }", "unknown field `header`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let access = |path: &Path| AccessConfig {
            ca_file: Some(path.to_owned()),
            ..AccessConfig::default()
        };
        for path in [file.path(), Path::new("/nowhere.pem")] {
            let error = access(path).authorities().unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
