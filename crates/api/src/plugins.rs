//! `/api/v1/plugins`: upload, grants, mode, going back, quarantine, removal.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::plugin_changes::record_plugin_changes;
use anomalyzer_domain::{Allowance, Grant, Mode, Origin, PluginChange, PluginKind};
use anomalyzer_history::History;
use anomalyzer_plugin_host::{ManageError, PluginView, Plugins};
use anomalyzer_remediate::grants::in_force;

use super::access::Caller;
use super::extract::{Json, JsonOrDefault, Path, Query};
use super::{ApiState, Problem, Role};

/// So many uploads are looked at at once; the next waits.
const UPLOADS: usize = 2;

/// Of a plugin's past, so much is told.
const CHANGES: u32 = 50;

/// A multipart body has some bytes besides the file.
const ENVELOPE: usize = 64 << 10;

/// The header that carries the signature of a raw body, in base64 as the file has line ends.
const SIGNATURE: &str = "plugin-signature";

/// Behind the door of the plugins.
#[derive(Clone)]
pub(super) struct PluginRoom {
    pub plugins: Plugins,
    configured: Arc<[Grant]>,
    /// Detectors that a configured signal names.
    watched_by: Arc<[String]>,
    uploads: Arc<Semaphore>,
}

impl PluginRoom {
    pub(super) fn new(plugins: Plugins, configured: Vec<Grant>, watched_by: Vec<String>) -> Self {
        let uploads = Arc::new(Semaphore::new(UPLOADS));
        Self {
            plugins,
            configured: configured.into(),
            watched_by: watched_by.into(),
            uploads,
        }
    }

    /// How long a body with a component may be, in bytes.
    pub(super) fn most_body(&self) -> usize {
        self.plugins.most_bytes().saturating_add(ENVELOPE)
    }

    fn granted(&self, name: &str) -> Vec<Allowance> {
        let set = self
            .plugins
            .standing(name)
            .and_then(|(_, grants, _)| grants);
        in_force(name, set, &self.configured)
    }

    /// What anybody is shown of a plugin.
    fn shown(&self, view: &PluginView) -> Shown {
        let is_action = view.info.kind == Some(PluginKind::Action);
        Shown {
            granted: if is_action {
                self.granted(&view.info.name)
            } else {
                Vec::new()
            },
            view: view.clone(),
        }
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    view: PluginView,
    /// What counts: what was set at run time, or else what the configuration says. The effect is
    /// this and the needs.
    granted: Vec<Allowance>,
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let text = error.to_string();
        match error {
            ManageError::NotFound(name) => Self::not_found("plugin", &name, "/api/v1/plugins"),
            ManageError::Refused(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "refused",
                "This is not a plugin that can be taken",
                text,
                "`anomalyzer plugins inspect FILE` shows what the host sees; nothing was stored",
            ),
            ManageError::Conflict(_) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "It can't be done as things are",
                text,
                "GET /api/v1/plugins/NAME shows how they are",
            ),
            ManageError::Store(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store",
                "The plugin can't be kept",
                text,
                "see to the data folder, then try again",
            ),
        }
    }
}

fn admin(caller: &Caller) -> Result<(), Problem> {
    if caller.role == Role::Admin {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "This token does not allow that",
        format!(
            "`{}` is {}: may upload, not decide what runs",
            caller.name,
            caller.role.as_str()
        ),
        "use the token of an admin",
    ))
}

fn room(state: &ApiState) -> Result<PluginRoom, Problem> {
    state
        .plugins
        .clone()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

/// What can't be recorded is not done.
fn recordable(history: &History) -> Result<(), Problem> {
    match history.health().problem {
        None => Ok(()),
        Some(problem) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "history",
            "The history cannot be read or written",
            problem,
            "a change of a plugin goes on record; see what /health says of the history, then try again",
        )),
    }
}

/// Puts on record what happened. What can't be is kept, and tried again by whoever looks after the
/// folder.
async fn record(state: &ApiState, room: &PluginRoom) {
    record_plugin_changes(&room.plugins, &state.history).await;
}

/// Runs what takes its time off the async threads.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Problem> {
    let panicked = |_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR);
    tokio::task::spawn_blocking(work).await.map_err(panicked)
}

/// All of them.
pub(super) async fn list(State(state): State<ApiState>) -> Answer<Value> {
    let Some(room) = &state.plugins else {
        return Answer(state.doors.plugins());
    };
    let shown: Vec<Shown> = room
        .plugins
        .views()
        .iter()
        .map(|view| room.shown(view))
        .collect();
    Answer(json!({ "plugins": shown, "health": room.plugins.health() }))
}

/// One, with its past.
pub(super) async fn one(
    State(state): State<ApiState>,
    Path(name): Path,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Detail {
        #[serde(flatten)]
        shown: Shown,
        /// Newest first.
        changes: Vec<PluginChange>,
    }
    let room = room(&state)?;
    let view = room
        .plugins
        .view(&name)
        .ok_or(ManageError::NotFound(name.clone()))?;
    let changes = state.history.plugin_changes(&name, CHANGES).await?;
    Ok(Answer(Detail {
        shown: room.shown(&view),
        changes,
    })
    .into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    /// Whether it is live at once, if whoever uploads may say so.
    #[serde(default = "yes")]
    live: bool,
}

fn yes() -> bool {
    true
}

/// A component and its signature, as a raw body or as `multipart/form-data` with `file` and
/// `signature`.
pub(super) struct Sent {
    bytes: Vec<u8>,
    signature: Option<String>,
}

impl FromRequest<ApiState> for Sent {
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
            "multipart/form-data" => from_parts(request, state).await,
            "application/wasm" | "application/octet-stream" => {
                let signature = match request.headers().get(SIGNATURE) {
                    Some(value) => Some(decode(value.as_bytes())?),
                    None => None,
                };
                let bytes = Bytes::from_request(request, state)
                    .await
                    .map_err(|rejection| {
                        not_taken(state, rejection.status()).saying(rejection.body_text())
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

/// Why the bytes did not arrive. The limit is that of a component, which is more than other doors
/// take.
fn not_taken(state: &ApiState, status: StatusCode) -> Problem {
    match &state.plugins {
        Some(room) if status == StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(
            room.plugins.most_bytes(),
        )
        .advising(": a plugin may have as much as `max_component_bytes` of the configuration says"),
        _ => Problem::of_status(status),
    }
}

fn decode(value: &[u8]) -> Result<String, Problem> {
    let bad = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-header",
            "A header cannot be understood",
            format!("the header {SIGNATURE} is not a signature file in base64"),
            "use `base64 -w0 FILE.minisig`, or send multipart/form-data with `signature`",
        )
    };
    let bytes = BASE64_STANDARD.decode(value).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

async fn from_parts(request: Request, state: &ApiState) -> Result<Sent, Problem> {
    let bad = |status: StatusCode, text: String| {
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            return not_taken(state, status).saying(text);
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
    Ok(Sent {
        bytes: file.into(),
        signature,
    })
}

/// 201 with the plugin. What somebody who is not an admin uploads is live at once only where that
/// gives nothing away: a name that is new and was granted nothing in advance. A new version of what
/// is there waits for an admin.
pub(super) async fn upload(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    peer: Option<Extension<Peer>>,
    Query(Upload { live }): Query<Upload>,
    sent: Sent,
) -> Result<Response, Problem> {
    let room = room(&state)?;
    recordable(&state.history)?;
    let place = Arc::clone(&room.uploads).acquire_owned().await;
    let plugins = room.plugins.clone();
    let Sent { bytes, signature } = sent;
    let examined = blocking(move || {
        let _place = place;
        plugins.examine(bytes, signature.as_deref())
    })
    .await?;
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => {
            tracing::warn!(by = caller.name, %error, "an upload was refused");
            return Err(error.into());
        }
    };
    let name = examined.info().name.clone();
    let harmless = room.plugins.view(&name).is_none() && room.granted(&name).is_empty();
    let live = live && (caller.role == Role::Admin || harmless);
    let address = peer.map_or_else(
        || "unknown".to_owned(),
        |Extension(Peer(address))| address.ip().to_string(),
    );
    let origin = Origin::Upload {
        by: caller.name,
        address,
    };
    let digest = examined.info().digest.clone();
    let plugins = room.plugins.clone();
    let view = blocking(move || plugins.install(examined, &origin, live)).await??;
    record(&state, &room).await;
    let shown = room.shown(&view);
    let location = format!("/api/v1/plugins/{name}");
    let waits = (!live).then(|| {
        format!("it is stored and not live: an admin makes it so with POST {location}/revert and {{\"digest\": \"{digest}\"}}")
    });
    let body = json!({ "plugin": shown, "digest": digest, "live": live, "note": waits });
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Answer(body),
    )
        .into_response())
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grants {
    /// Null for what the configuration says.
    grants: Option<Vec<Allowance>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModeWanted {
    mode: Mode,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevertTo {
    /// Of the version that is to be live, or how it begins. The one before, if there is none.
    #[serde(default)]
    digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// Also while it is in use.
    #[serde(default)]
    force: bool,
}

/// Changes something as an admin, and shows the plugin after it.
async fn change(
    state: &ApiState,
    caller: &Caller,
    change: impl FnOnce(&Plugins) -> Result<PluginView, ManageError> + Send + 'static,
) -> Result<Response, Problem> {
    admin(caller)?;
    let room = room(state)?;
    recordable(&state.history)?;
    let plugins = room.plugins.clone();
    let view = blocking(move || change(&plugins)).await??;
    record(state, &room).await;
    Ok(Answer(room.shown(&view)).into_response())
}

pub(super) async fn set_grants(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Json(Grants { grants }): Json<Grants>,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| {
        plugins.set_grants(&name, grants, &by)
    })
    .await
}

pub(super) async fn set_mode(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Json(ModeWanted { mode }): Json<ModeWanted>,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| {
        plugins.set_mode(&name, mode, &by)
    })
    .await
}

pub(super) async fn revert(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    JsonOrDefault(RevertTo { digest }): JsonOrDefault<RevertTo>,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| {
        plugins.revert(&name, digest.as_deref(), &by)
    })
    .await
}

pub(super) async fn lift(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| plugins.lift(&name, &by)).await
}

/// 204. The history keeps what it was and what it did.
pub(super) async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Query(Removal { force }): Query<Removal>,
) -> Result<StatusCode, Problem> {
    admin(&caller)?;
    let room = room(&state)?;
    recordable(&state.history)?;
    let view = room
        .plugins
        .view(&name)
        .ok_or(ManageError::NotFound(name.clone()))?;
    let used = match view.info.kind {
        Some(PluginKind::Detector) if room.watched_by.contains(&name) => {
            Some("a configured signal is watched by it")
        }
        Some(PluginKind::Action) if !room.granted(&name).is_empty() => {
            Some("it is granted something")
        }
        _ if view.stats.instances > 0 => Some("instances of it are open"),
        _ => None,
    };
    if let Some(why) = used.filter(|_| !force) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "in-use",
            "The plugin is in use",
            format!("`{name}`: {why}"),
            "add ?force=true if it is to go all the same",
        ));
    }
    let plugins = room.plugins.clone();
    let (of, by) = (name, caller.name);
    blocking(move || plugins.remove(&of, &by)).await??;
    record(&state, &room).await;
    Ok(StatusCode::NO_CONTENT)
}
