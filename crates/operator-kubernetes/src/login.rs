//! Access to a cluster: the client, and the credentials that it has to renew.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{ExecConfig, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::KubernetesConfig;
use super::credential_plugin::{self, Credentials};
use super::error::short;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client::install_tls_provider;
use anomalyzer_common::secret_file;

/// Interval at which a token file is read again.
const TOKEN_FILE_INTERVAL: Duration = Duration::from_secs(60);
/// Time before the expiry at which credentials are renewed, if they live long enough.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// Minimum time between two renewals because the server refused the credentials.
const MIN_REFUSAL_INTERVAL: Duration = Duration::from_secs(10);
/// Time for which a failure to obtain credentials is not repeated.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);
/// Schemes of a proxy.
const PROXY_SCHEMES: [&str; 3] = ["http", "https", "socks5"];

/// Reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Unusable kubeconfig.
    #[error("cannot use the kubeconfig {path}: {error}")]
    Kubeconfig {
        /// Path of the file.
        path: String,
        /// Cause of the failure.
        error: String,
    },
    /// Missing service account.
    #[error(
        "no kubeconfig is configured and this does not run in a pod ({0}): set kubernetes.kubeconfig"
    )]
    NotInCluster(String),
    /// Failure to make the client.
    #[error("cannot make a Kubernetes client: {0}")]
    Client(String),
}

/// Origin of credentials.
enum Source {
    /// The credentials are part of the configuration.
    Fixed,
    /// A file with a token that another process renews.
    TokenFile(PathBuf),
    /// A command that prints credentials.
    Plugin(Box<ExecConfig>),
}

/// Access to one cluster.
pub struct Login {
    /// Configuration without the credentials of the source.
    config: Config,
    source: Source,
    limit: Duration,
    session: Mutex<Option<Session>>,
}

/// A client, and the time at which its credentials are renewed.
struct Session {
    client: Client,
    /// Number of the client. It rises with each new client.
    number: u64,
    token: Option<String>,
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
    /// Time at which the server refused the credentials before.
    refused_at: Option<Instant>,
    /// Last failure to renew the credentials.
    failed: Option<(Instant, String)>,
}

impl Login {
    /// Reads the configuration. Neither sends a request nor runs a credential plugin: a start does
    /// not depend on them.
    pub async fn open(config: &KubernetesConfig) -> Result<Self, ConnectError> {
        install_tls_provider();
        let mut access = match &config.kubeconfig {
            Some(path) => kubeconfig(config)
                .await
                .map_err(|error| ConnectError::Kubeconfig {
                    path: path.display().to_string(),
                    error,
                })?,
            None => Config::incluster()
                .map_err(|error| ConnectError::NotInCluster(error.to_string()))?,
        };
        // The host does its own retries. Those of kube wait for minutes and know nothing of marks.
        access.default_retry = false;
        access.connect_timeout = Some(config.request_timeout);
        access.read_timeout = Some(config.request_timeout);
        access.write_timeout = Some(config.request_timeout);
        access.reset_reader_on_write = true;
        let source = take_source(&mut access);
        let login = Self {
            config: access,
            source,
            limit: config.request_timeout,
            session: Mutex::default(),
        };
        // A wrong certificate, proxy or token file is found at the start.
        let check = match &login.source {
            Source::Plugin(_) => Credentials::default(),
            _ => login.obtain().await.map_err(ConnectError::Client)?,
        };
        login.client_with(&check).map_err(ConnectError::Client)?;
        Ok(login)
    }

    /// Returns a client with valid credentials, and its number.
    ///
    /// # Errors
    /// The credentials cannot be obtained. Nothing was sent to the cluster.
    pub async fn client(&self) -> Result<(Client, u64), String> {
        let mut session = self.session.lock().await;
        if let Some(known) = session.as_mut() {
            let now = Instant::now();
            if known.renew_at.is_none_or(|at| now < at) {
                return Ok((known.client.clone(), known.number));
            }
            let usable = known.expires_at.is_none_or(|at| now < at);
            match &known.failed {
                Some((at, why)) if now.duration_since(*at) < FAILURE_PAUSE => {
                    return match usable {
                        true => Ok((known.client.clone(), known.number)),
                        false => Err(why.clone()),
                    };
                }
                _ => {}
            }
            match self.renew(known).await {
                Ok(()) => {}
                // The old credentials are still good.
                Err(_) if usable => {}
                Err(why) => return Err(why),
            }
            return Ok((known.client.clone(), known.number));
        }
        let credentials = self.obtain().await?;
        let client = self.client_with(&credentials)?;
        let known = Session {
            client: client.clone(),
            number: 0,
            token: credentials.token.clone(),
            renew_at: self.renew_at(&credentials),
            expires_at: expires_at(&credentials),
            refused_at: None,
            failed: None,
        };
        *session = Some(known);
        Ok((client, 0))
    }

    async fn renew(&self, known: &mut Session) -> Result<(), String> {
        let renewed = match self.obtain().await {
            // The connections of the client stay.
            Ok(same) if same.token.is_some() && same.token == known.token => Ok((None, same)),
            Ok(new) => self.client_with(&new).map(|client| (Some(client), new)),
            Err(why) => Err(why),
        };
        match renewed {
            Ok((client, credentials)) => {
                if let Some(client) = client {
                    known.client = client;
                    known.number += 1;
                }
                known.renew_at = self.renew_at(&credentials);
                known.expires_at = expires_at(&credentials);
                known.token = credentials.token;
                known.failed = None;
                Ok(())
            }
            Err(why) => {
                known.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Makes the next client renew its credentials, because the server refused those of the client
    /// `number`. Returns false if that makes no difference: they cannot be renewed, or were renewed
    /// just now.
    pub async fn refused(&self, number: u64) -> bool {
        let mut session = self.session.lock().await;
        let Some(known) = session.as_mut() else {
            return false;
        };
        let now = Instant::now();
        // Another request has found it out before.
        if known.number != number || known.renew_at.is_some_and(|at| at <= now) {
            return true;
        }
        let just_now = known
            .refused_at
            .is_some_and(|at| now.duration_since(at) < MIN_REFUSAL_INTERVAL);
        if just_now || matches!(self.source, Source::Fixed) {
            return false;
        }
        (known.refused_at, known.renew_at, known.expires_at) = (Some(now), Some(now), Some(now));
        true
    }

    async fn obtain(&self) -> Result<Credentials, String> {
        match &self.source {
            Source::Fixed => Ok(Credentials::default()),
            Source::TokenFile(path) => {
                let text = secret_file::read(path).await;
                let text = text.map_err(|error| {
                    format!("cannot read the token file {}: {error}", path.display())
                })?;
                // Files end with a line end, and tokens don't.
                let token = text.trim().to_owned();
                if token.is_empty() || token.contains(char::is_whitespace) {
                    return Err(format!(
                        "the token file {} contains no token",
                        path.display()
                    ));
                }
                Ok(Credentials {
                    token: Some(token),
                    ..Credentials::default()
                })
            }
            Source::Plugin(plugin) => credential_plugin::run(plugin, self.limit).await,
        }
    }

    fn client_with(&self, credentials: &Credentials) -> Result<Client, String> {
        let mut config = self.config.clone();
        if let Some(token) = &credentials.token {
            config.auth_info.token = Some(token.clone().into());
        }
        if let (Some(certificate), Some(key)) = (
            &credentials.client_certificate_data,
            &credentials.client_key_data,
        ) {
            config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate));
            config.auth_info.client_key_data = Some(STANDARD.encode(key).into());
        }
        Client::try_from(config).map_err(|error| short(&error.to_string()))
    }

    fn renew_at(&self, credentials: &Credentials) -> Option<Instant> {
        if let Source::TokenFile(_) = self.source {
            return Some(Instant::now() + TOKEN_FILE_INTERVAL);
        }
        let left = time_left(credentials)?;
        // Short-lived credentials are renewed at half of their time.
        Some(Instant::now() + left.saturating_sub(RENEW_BEFORE).max(left / 2))
    }
}

fn expires_at(credentials: &Credentials) -> Option<Instant> {
    time_left(credentials).map(|left| Instant::now() + left)
}

fn time_left(credentials: &Credentials) -> Option<Duration> {
    let left = credentials.expiration_timestamp?.saturating_sub(now_ms());
    Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(MAX_LIFETIME))
}

/// Longest time for which credentials are kept. It bounds arithmetic with dates far ahead.
const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Takes the credentials out of `access` that have to be renewed.
fn take_source(access: &mut Config) -> Source {
    let auth = &mut access.auth_info;
    let (file, plugin) = (auth.token_file.take(), auth.exec.take());
    if let Some(file) = file {
        // The file has precedence over a token, as with kubectl.
        auth.token = None;
        return Source::TokenFile(file.into());
    }
    match plugin {
        Some(plugin) if auth.token.is_none() => Source::Plugin(Box::new(plugin)),
        _ => Source::Fixed,
    }
}

/// Reads the configured kubeconfig.
async fn kubeconfig(config: &KubernetesConfig) -> Result<Config, String> {
    let path = config.kubeconfig.clone().unwrap_or_default();
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| described(&error))?;
    let proxy = proxy(&kubeconfig, config.context.as_deref())?;
    let options = KubeConfigOptions {
        context: config.context.clone(),
        ..KubeConfigOptions::default()
    };
    let loaded = Config::from_custom_kubeconfig(kubeconfig, &options);
    let mut access = loaded.await.map_err(|error| described(&error))?;
    // Only the kubeconfig names a proxy, and no variable of the environment.
    access.proxy_url = proxy;
    if access.root_cert.as_ref().is_some_and(Vec::is_empty) {
        return Err("its certificate-authority contains no certificate".to_owned());
    }
    let auth = &access.auth_info;
    if let Some(problem) = auth.exec.as_ref().and_then(credential_plugin::problem) {
        return Err(problem);
    }
    if let Some(provider) = auth.auth_provider.as_ref().filter(|it| it.name != "oidc") {
        return Err(format!(
            "the auth-provider `{}` is not supported: use a credential plugin (exec), as kubectl does since 1.26",
            provider.name
        ));
    }
    Ok(access)
}

/// Returns the URL of the proxy. The error does not repeat it, because it may contain a password.
fn proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<Option<http::Uri>, String> {
    let context = context.or(kubeconfig.current_context.as_deref());
    let cluster = kubeconfig
        .contexts
        .iter()
        .find(|named| Some(named.name.as_str()) == context)
        .and_then(|named| Some(&named.context.as_ref()?.cluster));
    let url = kubeconfig
        .clusters
        .iter()
        .find(|named| Some(&named.name) == cluster)
        .and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref())
        .map(str::trim)
        .filter(|url| !url.is_empty());
    let Some(url) = url else { return Ok(None) };
    let usable = url.parse::<http::Uri>().ok().filter(|url| {
        let scheme = url.scheme_str().unwrap_or_default();
        PROXY_SCHEMES.contains(&scheme) && url.host().is_some()
    });
    match usable {
        Some(url) => Ok(Some(url)),
        None => Err(format!(
            "the proxy-url of its cluster is no URL of a proxy: write {}://host:port",
            PROXY_SCHEMES.join(":// or ")
        )),
    }
}

/// Returns an error with its causes in one line.
fn described(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if !line.contains(&cause.to_string()) {
            line = format!("{line}: {cause}");
        }
        source = cause.source();
    }
    short(&line)
}
