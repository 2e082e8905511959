//! `/api/v1/plugins`: grants, modes, versions, quarantine and removal of plugins.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::instrument;

use anomalyzer_domain::{Allowance, Mode, PluginKind};
use anomalyzer_history::History;
use anomalyzer_plugin_host::{ManageError, PluginView, Plugins};

use super::auth::Caller;
use super::config::Role;
use super::extract::{Json, JsonOrDefault, Path, Query};
use super::plugin_changes::record_plugin_changes;
use super::plugins_state::{PluginDetail, PluginsState, ShownPlugin};
use super::problem::Problem;
use super::state::ApiState;

/// Changes of a plugin that its page shows.
const MAX_SHOWN_CHANGES: u32 = 50;

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
            ManageError::Quota(_) => Self::new(
                StatusCode::CONFLICT,
                "quota",
                "A quota of plugins is used up",
                text,
                "remove what is not needed, or raise the limit that the detail names; nothing was stored",
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

/// Refuses a caller who is not an admin.
pub(super) fn require_admin(caller: &Caller) -> Result<(), Problem> {
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

/// Returns the plugins, or a problem if their routes are not enabled.
pub(super) fn plugins_of(state: &ApiState) -> Result<PluginsState, Problem> {
    state
        .plugins
        .clone()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

/// Refuses a change of a plugin while the history cannot record it.
pub(super) fn require_recordable(history: &History) -> Result<(), Problem> {
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

/// Records the changes of plugins. A change that cannot be recorded stays queued, and the task of
/// the plugin folder tries again.
pub(super) async fn record_changes(state: &ApiState, plugins: &PluginsState) {
    record_plugin_changes(&plugins.plugins, &state.history).await;
}

/// Runs slow work on a thread of its own.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Problem> {
    let panicked = |_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR);
    tokio::task::spawn_blocking(work).await.map_err(panicked)
}

/// Lists all plugins.
pub(super) async fn list(State(state): State<ApiState>) -> Answer<Value> {
    let Some(plugins) = &state.plugins else {
        return Answer(state.backend.plugins());
    };
    let shown: Vec<ShownPlugin> = plugins
        .plugins
        .views()
        .iter()
        .map(|view| plugins.shown(view))
        .collect();
    Answer(json!({ "plugins": shown, "health": plugins.plugins.health() }))
}

/// Returns one plugin, with its past.
#[instrument(skip_all, fields(plugin = %name))]
pub(super) async fn one(
    State(state): State<ApiState>,
    Path(name): Path,
) -> Result<Answer<PluginDetail>, Problem> {
    let plugins = plugins_of(&state)?;
    let view = plugins.find(&name)?;
    let changes = state
        .history
        .searches()
        .plugin_changes(&name, MAX_SHOWN_CHANGES)
        .await?;
    Ok(Answer(PluginDetail {
        shown: plugins.shown(&view),
        changes,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantsBody {
    /// Grants. Null restores the grants of the configuration.
    grants: Option<Vec<Allowance>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModeBody {
    mode: Mode,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevertBody {
    /// Digest of the version to make live, or its beginning. The default is the previous version.
    #[serde(default)]
    digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveQuery {
    /// Removes the plugin also while it is in use.
    #[serde(default)]
    force: bool,
    /// Digest of a candidate. Only this candidate is removed.
    version: Option<String>,
}

/// Applies a change of an admin, records it, and answers with the changed plugin.
async fn change(
    state: &ApiState,
    caller: &Caller,
    change: impl FnOnce(&Plugins) -> Result<PluginView, ManageError> + Send + 'static,
) -> Result<Response, Problem> {
    require_admin(caller)?;
    let plugins = plugins_of(state)?;
    require_recordable(&state.history)?;
    let changed = plugins.plugins.clone();
    let view = blocking(move || change(&changed)).await??;
    record_changes(state, &plugins).await;
    Ok(Answer(plugins.shown(&view)).into_response())
}

/// Sets the grants of an action.
#[instrument(skip_all, fields(plugin = %name))]
pub(super) async fn set_grants(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Json(GrantsBody { grants }): Json<GrantsBody>,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| {
        plugins.set_grants(&name, grants, &by)
    })
    .await
}

/// Sets the mode of a plugin.
#[instrument(skip_all, fields(plugin = %name))]
pub(super) async fn set_mode(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Json(ModeBody { mode }): Json<ModeBody>,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| {
        plugins.set_mode(&name, mode, &by)
    })
    .await
}

/// Makes another stored version live.
#[instrument(skip_all, fields(plugin = %name))]
pub(super) async fn revert(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    JsonOrDefault(RevertBody { digest }): JsonOrDefault<RevertBody>,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| {
        plugins.revert(&name, digest.as_deref(), &by)
    })
    .await
}

/// Lifts the quarantine of a plugin.
#[instrument(skip_all, fields(plugin = %name))]
pub(super) async fn lift(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
) -> Result<Response, Problem> {
    let by = caller.name.clone();
    change(&state, &caller, move |plugins| plugins.lift(&name, &by)).await
}

/// Removes a plugin or one of its candidates, and answers 204. The history keeps its past.
#[instrument(skip_all, fields(plugin = %name))]
pub(super) async fn remove(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Query(RemoveQuery { force, version }): Query<RemoveQuery>,
) -> Result<StatusCode, Problem> {
    require_admin(&caller)?;
    let plugins = plugins_of(&state)?;
    require_recordable(&state.history)?;
    if version.is_none() && !force {
        refuse_if_used(&plugins, &name)?;
    }
    let registry = plugins.plugins.clone();
    let by = caller.name;
    blocking(move || match version {
        Some(digest) => registry.remove_candidate(&name, &digest, &by),
        None => registry.remove(&name, &by),
    })
    .await??;
    record_changes(&state, &plugins).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns an error if the plugin is in use.
fn refuse_if_used(plugins: &PluginsState, name: &str) -> Result<(), Problem> {
    let view = plugins
        .plugins
        .view(name)
        .ok_or(ManageError::NotFound(name.to_owned()))?;
    let used = match view.info.kind {
        Some(PluginKind::Detector) if plugins.watched_by.iter().any(|it| it == name) => {
            "a configured signal is watched by it"
        }
        Some(PluginKind::Action) if !plugins.granted(name).is_empty() => "it is granted something",
        _ if view.stats.instances > 0 => "instances of it are open",
        _ => return Ok(()),
    };
    Err(Problem::new(
        StatusCode::CONFLICT,
        "in-use",
        "The plugin is in use",
        format!("`{name}`: {used}"),
        "add ?force=true to remove it in any case",
    ))
}
