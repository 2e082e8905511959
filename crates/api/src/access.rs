//! Who asks, and whether they may.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::config::{ApiConfig, Role, token_issue};
use super::problem::Problem;
use anomalyzer_domain::ConfigIssue;

/// A token in a file is at least that long, in bytes.
const SHORTEST: usize = 16;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name, or that there was none.
    pub name: String,
    pub role: Role,
}

#[derive(Debug)]
struct Known {
    caller: Caller,
    sha256: [u8; 32],
}

/// Who may do what: the tokens as they were when it was loaded.
#[derive(Clone, Debug)]
pub struct Access {
    known: Arc<[Known]>,
    loopback: bool,
}

impl Access {
    /// Reads the token files. `listen`: where the API that it is for listens.
    ///
    /// # Errors
    /// What [`ApiConfig::validate`] refuses, and a token that can't be had.
    pub fn load(config: &ApiConfig, listen: SocketAddr) -> Result<Self, ConfigIssue> {
        config.validate()?;
        let mut known: Vec<Known> = Vec::new();
        for (index, token) in config.tokens.iter().enumerate() {
            let stated = token
                .stated_hash()
                .map_err(|message| token_issue(index, message))?;
            let sha256 = match (stated, &token.file) {
                (Some(hash), _) => hash,
                (None, Some(path)) => {
                    let failed = |reason: String| {
                        let (name, path) = (&token.name, path.display());
                        token_issue(index, format!("api.tokens `{name}`: {path}: {reason}"))
                    };
                    let text =
                        std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
                    let secret = text.trim();
                    if secret.len() < SHORTEST {
                        return Err(failed(format!("a token has at least {SHORTEST} bytes")));
                    }
                    Sha256::digest(secret).into()
                }
                (None, None) => return Err(token_issue(index, token.needs_one_secret())),
            };
            // Two tokens with one secret: the record could not tell who did it.
            if let Some(same) = known.iter().position(|other| other.sha256 == sha256) {
                let message = format!(
                    "api.tokens `{}` and `{}` are the same token; make one of them new",
                    known[same].caller.name, token.name
                );
                return Err(token_issue(same, message));
            }
            known.push(Known {
                caller: Caller {
                    name: token.name.clone(),
                    role: token.role,
                },
                sha256,
            });
        }
        Ok(Self {
            known: known.into(),
            loopback: listen.ip().is_loopback(),
        })
    }

    /// Without tokens, everybody on this machine is trusted.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.known.is_empty() {
            return Ok(Caller {
                name: "anonymous on loopback".to_owned(),
                role: Role::Admin,
            });
        }
        let refused = |detail: &str| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A token is needed",
                detail,
                "send the header Authorization: Bearer TOKEN, with a token of [[api.tokens]]",
            )
        };
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Err(refused("there is no header Authorization"));
        };
        let (scheme, secret) = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused(
                "the header Authorization is not of the scheme Bearer",
            ));
        }
        // What is compared are hashes: how long it takes tells nothing about the token.
        let sha256: [u8; 32] = Sha256::digest(secret.trim()).into();
        let known = self.known.iter().find(|known| known.sha256 == sha256);
        known
            .map(|known| known.caller.clone())
            .ok_or_else(|| refused("the token is not known"))
    }

    /// Whoever wants to change something must have one of these roles.
    fn check(&self, request: &Request, may_change: &[Role]) -> Result<Caller, Problem> {
        if self.loopback {
            check_host(request)?;
        }
        let changes = !matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        if changes {
            check_origin(request)?;
        }
        let caller = self.caller(request.headers())?;
        if changes && !may_change.contains(&caller.role) {
            let roles: Vec<&str> = may_change.iter().map(|role| role.as_str()).collect();
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "This token does not allow that",
                format!("`{}` is {}", caller.name, caller.role.as_str()),
                format!("use the token of an {}", roles.join(" or an ")),
            ));
        }
        Ok(caller)
    }
}

/// Lets through who may, with the caller noted in the request.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    admit(&access, &[Role::Approver, Role::Admin], request, next).await
}

/// The same at the door of the plugins.
pub(super) async fn guard_plugins(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    admit(&access, &[Role::Uploader, Role::Admin], request, next).await
}

async fn admit(access: &Access, may_change: &[Role], mut request: Request, next: Next) -> Response {
    match access.check(&request, may_change) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// For what everybody may know: lets through, with the caller noted if there is one.
pub(super) async fn note(
    State(access): State<Access>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Ok(caller) = access.check(&request, &[]) {
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

fn host(request: &Request) -> Option<&str> {
    let header = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(Authority::as_str))
}

/// A web page can make its own name point to 127.0.0.1 (DNS rebinding), but not change what the
/// browser sends as Host.
fn check_host(request: &Request) -> Result<(), Problem> {
    let Some(host) = host(request) else {
        return Ok(());
    };
    let local = host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    });
    if local {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign-host",
        "This name does not mean this machine",
        format!("the header Host is `{host}`, and the service listens on loopback"),
        "ask for localhost or 127.0.0.1",
    ))
}

/// A web page of another site can make a browser send a POST, but not without saying from where.
fn check_origin(request: &Request) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or("unreadable");
    let site = origin.split_once("://").map(|(_, site)| site);
    if site.is_some() && site == host(request) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign-origin",
        "Pages of other sites may not do that",
        format!("the header Origin is `{origin}`"),
        "send the request without a browser, or from a page of this service",
    ))
}
