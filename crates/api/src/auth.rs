//! Authentication by token, and authorisation by role.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use anomalyzer_common::secret_file::MAX_SECRET_BYTES;
use anomalyzer_domain::ConfigIssue;
use anomalyzer_regular_file as regular_file;

use super::config::{ApiConfig, Role, token_issue};
use super::foreign_page;
use super::problem::Problem;

/// Minimum length of a token in a file, in bytes.
const MIN_TOKEN_BYTES: usize = 16;

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Name of the token, or a fixed name where no tokens are configured.
    pub name: String,
    pub role: Role,
}

#[derive(Debug)]
struct KnownToken {
    caller: Caller,
    sha256: [u8; 32],
}

/// The configured tokens with their roles, as they were when the service started.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Arc<[KnownToken]>,
    loopback: bool,
}

impl Access {
    /// Reads the token files. `listen` is the address on which the API listens.
    ///
    /// # Errors
    /// [`ApiConfig::validate`] refuses the table, or a token cannot be read or is not usable.
    pub fn load(config: &ApiConfig, listen: SocketAddr) -> Result<Self, ConfigIssue> {
        config.validate()?;
        let mut tokens: Vec<KnownToken> = Vec::new();
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
                    let text = regular_file::read_text(path, MAX_SECRET_BYTES)
                        .map_err(|error| failed(error.to_string()))?;
                    let secret = text.trim();
                    if secret.len() < MIN_TOKEN_BYTES {
                        return Err(failed(format!(
                            "a token has at least {MIN_TOKEN_BYTES} bytes"
                        )));
                    }
                    Sha256::digest(secret).into()
                }
                (None, None) => return Err(token_issue(index, token.needs_one_secret())),
            };
            // Two tokens have one secret: the record could not tell who made a change.
            if let Some(same) = tokens.iter().position(|other| other.sha256 == sha256) {
                let message = format!(
                    "api.tokens `{}` and `{}` are the same token; make one of them new",
                    tokens[same].caller.name, token.name
                );
                return Err(token_issue(same, message));
            }
            tokens.push(KnownToken {
                caller: Caller {
                    name: token.name.clone(),
                    role: token.role,
                },
                sha256,
            });
        }
        Ok(Self {
            tokens: tokens.into(),
            loopback: listen.ip().is_loopback(),
        })
    }

    /// Returns the caller that the header `Authorization` names. Without configured tokens,
    /// everybody on this machine is trusted.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.tokens.is_empty() {
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
        // The comparison is of hashes, so that its duration tells nothing about the token.
        let sha256: [u8; 32] = Sha256::digest(secret.trim()).into();
        let known = self.tokens.iter().find(|token| token.sha256 == sha256);
        known
            .map(|token| token.caller.clone())
            .ok_or_else(|| refused("the token is not known"))
    }

    /// Checks the request, and returns its caller. A request that changes something needs one of
    /// the roles in `may_change`.
    fn check(&self, request: &Request, may_change: &[Role]) -> Result<Caller, Problem> {
        if self.loopback {
            foreign_page::check_host(request)?;
        }
        let changes = !matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        if changes {
            foreign_page::check_origin(request)?;
            if self.tokens.is_empty() {
                foreign_page::check_browser(request)?;
            }
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

/// Middleware: admits requests that the caller's role allows, and attaches the [`Caller`].
pub(super) async fn authorize(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    admit(&access, &[Role::Approver, Role::Admin], request, next).await
}

/// Middleware: [`authorize`] for the plugin routes, where uploaders may make changes and approvers
/// may not.
pub(super) async fn authorize_plugins(
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

/// Middleware: admits every request, and attaches the [`Caller`] if there is one.
pub(super) async fn identify(
    State(access): State<Access>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Ok(caller) = access.check(&request, &[]) {
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::config::Token;

    fn request(method: Method, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        for (name, value) in [&("host", "127.0.0.1:9000")].into_iter().chain(headers) {
            let name: header::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn without_tokens_no_page_of_another_site_changes_anything() {
        let config = ApiConfig::default();
        let access = Access::load(&config, config.listen).unwrap();
        let check = |method, headers: &[(&str, &str)]| {
            let checked = access.check(&request(method, headers), &[Role::Admin]);
            checked.is_ok()
        };
        for foreign in [
            ("origin", "null"),
            ("referer", "http://evil.example/"),
            ("sec-fetch-site", "cross-site"),
            ("content-type", "text/plain"),
        ] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(check(method.clone(), &[]), "{method}");
                assert!(!check(method.clone(), &[foreign]), "{method} {foreign:?}");
            }
            assert!(check(Method::GET, &[foreign]), "{foreign:?}");
        }
        for method in [Method::GET, Method::POST] {
            assert!(!check(method, &[("host", "evil.example")]));
        }
    }

    #[test]
    fn with_tokens_the_token_shows_that_no_foreign_page_sent_the_request() {
        let token = Token {
            name: "ci".to_owned(),
            role: Role::Admin,
            sha256: Some(hex::encode(Sha256::digest("0123456789abcdef"))),
            file: None,
        };
        let config = ApiConfig {
            tokens: vec![token],
            ..ApiConfig::default()
        };
        let access = Access::load(&config, config.listen).unwrap();
        let bearer = ("authorization", "Bearer 0123456789abcdef");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let check = |headers: &[(&str, &str)]| {
            access.check(&request(Method::POST, headers), &[Role::Admin])
        };
        assert!(check(&[bearer, form]).is_ok());
        assert!(check(&[form]).is_err());
    }
}
