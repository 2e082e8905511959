//! `POST /api/v1/plugins`: uploads of plugins.

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{Span, field, instrument};

use anomalyzer_domain::Origin;

use super::auth::Caller;
use super::config::Role;
use super::extract::{Peer, Query};
use super::limits::UPLOAD_BODY_TIMEOUT;
use super::plugins::{blocking, plugins_of, record_changes, require_recordable};
use super::problem::Problem;
use super::state::ApiState;

/// Header that carries the signature of a raw body. Its value is in base64, as a signature file has
/// line ends.
const SIGNATURE_HEADER: &str = "plugin-signature";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    /// True to make the version live at once, if the caller may do so.
    #[serde(default = "yes")]
    live: bool,
}

fn yes() -> bool {
    true
}

/// An uploaded component and its signature, from a raw body or from `multipart/form-data` with
/// `file` and `signature`.
pub(super) struct UploadedPlugin {
    bytes: Vec<u8>,
    signature: Option<String>,
}

impl FromRequest<ApiState> for UploadedPlugin {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match kind.as_str() {
            "multipart/form-data" => from_multipart(request, state).await,
            "application/wasm" | "application/octet-stream" => {
                let signature = match request.headers().get(SIGNATURE_HEADER) {
                    Some(value) => Some(decode_signature(value.as_bytes())?),
                    None => None,
                };
                let bytes = Bytes::from_request(request, state)
                    .await
                    .map_err(|rejection| {
                        body_problem(state, rejection.status()).with_detail(rejection.body_text())
                    })?;
                Ok(Self {
                    bytes: bytes.into(),
                    signature,
                })
            }
            _ => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "The body is not marked as a component",
                format!("the header Content-Type is `{kind}`"),
                "send application/wasm with the component as the body, or multipart/form-data with it as `file`",
            )),
        }
    }
}

/// Returns the problem of a body that did not arrive. The limit in it is that of a component, which
/// is more than other routes take.
fn body_problem(state: &ApiState, status: StatusCode) -> Problem {
    match &state.plugins {
        Some(state) if status == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::too_large(state.plugins.most_bytes()).with_advice(
                ": a plugin may have as much as `max_component_bytes` of the configuration says",
            )
        }
        _ => Problem::of_status(status),
    }
}

/// Decodes the header of the signature.
fn decode_signature(value: &[u8]) -> Result<String, Problem> {
    let bad = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-header",
            "A header cannot be understood",
            format!("the header {SIGNATURE_HEADER} is not a signature file in base64"),
            "use `base64 -w0 FILE.minisig`, or send multipart/form-data with `signature`",
        )
    };
    let bytes = BASE64_STANDARD.decode(value).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

/// Reads a multipart body.
async fn from_multipart(request: Request, state: &ApiState) -> Result<UploadedPlugin, Problem> {
    let bad = |status: StatusCode, text: String| {
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            return body_problem(state, status).with_detail(text);
        }
        let remedy =
            "send the component as `file`, and its signature, if there is one, as `signature`";
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-body",
            "The body cannot be understood",
            text,
            remedy,
        )
    };
    let mut parts = Multipart::from_request(request, state)
        .await
        .map_err(|r| bad(r.status(), r.body_text()))?;
    let (mut file, mut signature) = (None, None);
    while let Some(part) = parts
        .next_field()
        .await
        .map_err(|error| bad(error.status(), error.body_text()))?
    {
        let name = part.name().unwrap_or_default().to_owned();
        let slot = match name.as_str() {
            "file" => &mut file,
            "signature" => &mut signature,
            other => {
                return Err(bad(
                    StatusCode::BAD_REQUEST,
                    format!("it has a part `{other}`"),
                ));
            }
        };
        let bytes = part
            .bytes()
            .await
            .map_err(|error| bad(error.status(), error.body_text()))?;
        if slot.replace(bytes).is_some() {
            return Err(bad(
                StatusCode::BAD_REQUEST,
                format!("it has two parts `{name}`"),
            ));
        }
    }
    let file =
        file.ok_or_else(|| bad(StatusCode::BAD_REQUEST, "it has no part `file`".to_owned()))?;
    let signature = match signature {
        Some(bytes) => Some(String::from_utf8(bytes.into()).map_err(|_| {
            bad(
                StatusCode::BAD_REQUEST,
                "the signature is not text".to_owned(),
            )
        })?),
        None => None,
    };
    Ok(UploadedPlugin {
        bytes: file.into(),
        signature,
    })
}

/// Stores an uploaded plugin, and answers 201 with it. A version of a caller who is not an admin is
/// a candidate: it waits for an admin to make it live.
#[instrument(skip_all, fields(by = caller.name, plugin = field::Empty))]
pub(super) async fn upload(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    peer: Option<Extension<Peer>>,
    Query(UploadQuery { live }): Query<UploadQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let plugins = plugins_of(&state)?;
    require_recordable(&state.history)?;
    let is_admin = caller.role == Role::Admin;
    let uploader = (!is_admin).then(|| caller.name.clone());
    let place = plugins.uploads.enter(uploader.as_deref()).await?;
    let uploaded = receive(request, &state).await?;
    // A caller who goes away drops the guard, which ends the examination.
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let registry = plugins.plugins.clone();
    let examined = blocking(move || {
        let _place = place;
        let UploadedPlugin { bytes, signature } = uploaded;
        registry.examine_for(uploader.as_deref(), bytes, signature.as_deref(), &cancel)
    })
    .await?;
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => {
            tracing::warn!(by = caller.name, %error, "upload refused");
            return Err(error.into());
        }
    };
    let name = examined.info().name.clone();
    Span::current().record("plugin", name.as_str());
    let address = peer.map_or_else(
        || "unknown".to_owned(),
        |Extension(Peer(address))| address.ip().to_string(),
    );
    let origin = Origin::Upload {
        by: caller.name,
        address,
    };
    let digest = examined.info().digest.clone();
    let registry = plugins.plugins.clone();
    let to_live = live && is_admin;
    let view = blocking(move || registry.install(examined, &origin, to_live)).await??;
    record_changes(&state, &plugins).await;
    let live = view.info.error.is_none() && view.info.digest == digest;
    let shown = plugins.shown(&view);
    let location = format!("/api/v1/plugins/{name}");
    let note = (!live).then(|| {
        format!("it is stored and not live: an admin makes it so with POST {location}/revert and {{\"digest\": \"{digest}\"}}")
    });
    let body = json!({ "plugin": shown, "digest": digest, "live": live, "note": note });
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Answer(body),
    )
        .into_response())
}

/// Receives the body of an upload. A body that arrives slowly must not hold its place for long.
async fn receive(request: Request, state: &ApiState) -> Result<UploadedPlugin, Problem> {
    let receiving = UploadedPlugin::from_request(request, state);
    let received = tokio::time::timeout(UPLOAD_BODY_TIMEOUT, receiving).await;
    received.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "The body arrived too slowly",
            format!("it did not arrive within {UPLOAD_BODY_TIMEOUT:?}"),
            "send it over a faster connection, or put the file into the plugin folder",
        ))
    })
}
