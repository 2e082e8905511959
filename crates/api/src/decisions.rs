//! `/api/v1/decisions`: a page of decisions, one decision, or all as JSON Lines.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use tracing::instrument;

use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, IncidentId, Target, UnixMs, VerificationOutcome,
};
use anomalyzer_history::{Filter, HistoryReader, Page, parse_time};

use super::extract::{Path, Query};
use super::problem::Problem;

/// Maximum number of entries on a page.
const MAX_PAGE_SIZE: u32 = 500;

/// Decisions that a stream reads from the history at once.
const STREAM_PAGE_SIZE: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionQuery {
    #[serde(default, deserialize_with = "text")]
    target: Option<Target>,
    solution: Option<String>,
    outcome: Option<VerificationOutcome>,
    state: Option<DecisionState>,
    incident: Option<IncidentId>,
    #[serde(default, deserialize_with = "time")]
    from: Option<UnixMs>,
    #[serde(default, deserialize_with = "time")]
    to: Option<UnixMs>,
    text: Option<String>,
    limit: Option<u32>,
    cursor: Option<i64>,
}

fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map(Some)
        .map_err(D::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMs>, D::Error> {
    parse_time(&String::deserialize(deserializer)?)
        .map(Some)
        .map_err(D::Error::custom)
}

/// Checks the size of the requested page.
pub(super) fn page(limit: Option<u32>, cursor: Option<i64>) -> Result<Page, Problem> {
    let limit = limit.unwrap_or(Page::default().limit);
    if !(1..=MAX_PAGE_SIZE).contains(&limit) {
        return Err(Problem::new(
            axum::http::StatusCode::BAD_REQUEST,
            "bad-query",
            "The query cannot be understood",
            format!("limit: it is {limit}"),
            format!("use 1 to {MAX_PAGE_SIZE}, and go on with `next` as cursor"),
        ));
    }
    Ok(Page {
        after: cursor,
        limit,
        ..Page::default()
    })
}

#[derive(Serialize)]
struct Decisions {
    decisions: Vec<Decision>,
    /// Value for `cursor` in the request of the next page. Null on the last page.
    next: Option<String>,
}

/// Lists decisions, newest first. With `Accept: application/jsonl` the answer holds all decisions,
/// one a line, and `limit` bounds their number.
pub(super) async fn list(
    State(history): State<HistoryReader>,
    Query(query): Query<DecisionQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let DecisionQuery {
        target,
        solution,
        outcome,
        state,
        incident,
        from,
        to,
        text,
        limit,
        cursor,
    } = query;
    let filter = Filter {
        target,
        solution,
        outcome,
        state,
        incident,
        from,
        to,
        text,
    };
    if accepts_lines(&headers) {
        if limit == Some(0) {
            page(limit, cursor)?;
        }
        return lines(&history, filter, limit, cursor).await;
    }
    let (decisions, next) = history.decisions(&filter, page(limit, cursor)?).await?;
    Ok(Json(Decisions {
        decisions,
        next: next.map(|next| next.to_string()),
    })
    .into_response())
}

fn accepts_lines(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ["application/jsonl", "application/x-ndjson"]
            .iter()
            .any(|lines| kind.eq_ignore_ascii_case(lines))
    })
}

/// Streams decisions as JSON Lines. The first decision is read before the status is sent, so that a
/// history that cannot be read is a problem and no 200. A later error ends the connection without
/// the closing chunk, so that nobody takes a part for the whole.
async fn lines(
    history: &HistoryReader,
    filter: Filter,
    limit: Option<u32>,
    cursor: Option<i64>,
) -> Result<Response, Problem> {
    let page = Page {
        after: cursor,
        limit: STREAM_PAGE_SIZE,
        ..Page::default()
    };
    let max_lines = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut decisions = Box::pin(history.all_decisions(filter, page).take(max_lines));
    let first = decisions.try_next().await?;
    let decisions = stream::iter(first.map(Ok)).chain(decisions);
    let lines = decisions
        .map_err(std::io::Error::other)
        .and_then(async |decision| {
            let mut line = serde_json::to_vec(&decision)?;
            line.push(b'\n');
            Ok(line)
        });
    Ok((
        [(header::CONTENT_TYPE, "application/jsonl")],
        Body::from_stream(lines),
    )
        .into_response())
}

/// Returns one decision.
#[instrument(skip_all, fields(decision.id = %id))]
pub(super) async fn one(
    State(history): State<HistoryReader>,
    Path(id): Path,
) -> Result<Json<Decision>, Problem> {
    let decision = history.decision(&DecisionId::from(id.as_str())).await?;
    decision
        .map(Json)
        .ok_or_else(|| Problem::not_found("decision", &id, "/api/v1/decisions"))
}
