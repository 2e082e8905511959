//! Client of Prometheus's HTTP API. <https://prometheus.io/docs/prometheus/latest/querying/api/>

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Url};
use tokio::sync::OnceCell;

use anomalyzer_common::clock::now_ms;
use anomalyzer_common::secret_url::shown;
use anomalyzer_domain::{Labels, Sample, Series, UnixMs, millis};

use super::response::{self, Answered, Found};
use crate::fetch::{self, Bounds, SourceClient};
use crate::http_url;
use crate::{ClientError, PrometheusConfig, SourceError};

/// Maximum number of points per series in one request. Prometheus returns at most 11,000 points of
/// a series; a longer range is requested in pieces.
const MAX_POINTS_AT_ONCE: i64 = 10_000;
/// Longest range, in points per series.
const MAX_POINTS: i64 = 1_000_000;
/// Maximum number of points of all series of a range. They take about 160 MB.
const MAX_POINTS_OF_ALL: usize = 10_000_000;
/// Longest address of a GET request. Proxies and servers refuse longer ones; the query is then sent
/// as a form.
const MAX_URL: usize = 2_000;
/// Statuses of a server that accepts no POST.
const NO_POST: [u16; 2] = [405, 501];

/// Query parameter that limits the age of a sample. Prometheus supports it since March 2023
/// (prometheus/prometheus#12088); older versions ignore it.
const LOOKBACK: &str = "lookback_delta";
/// Warning about a Prometheus that does not know [`LOOKBACK`].
const IGNORES_LOOKBACK: &str = "this Prometheus does not know `lookback_delta`: a value counts as current for as long as its own \
    --query.lookback-delta says, five minutes unless it is set; set it, or take a newer Prometheus";

/// Answer to an instant query, and the server's remarks about it.
#[derive(Debug)]
pub struct InstantAnswer {
    /// The series, with one sample each.
    pub found: Found,
    /// Warnings, without effect on the completeness.
    pub notes: Vec<String>,
    /// Reason why the answer lacks a part, if it does.
    pub partial: Option<String>,
}

/// A Prometheus, or a server that speaks its HTTP API.
#[derive(Debug)]
pub struct Prometheus {
    config: PrometheusConfig,
    client: SourceClient,
    ignores_lookback: OnceCell<bool>,
}

impl Prometheus {
    /// Sets up the client. Sends no request yet.
    ///
    /// # Errors
    /// Returns an error if the file with the authorities to trust can't be used.
    pub fn new(config: PrometheusConfig) -> Result<Self, ClientError> {
        let client = SourceClient::new(config.access(), config.timeout)?;
        Ok(Self {
            config,
            client,
            ignores_lookback: OnceCell::new(),
        })
    }

    /// Evaluates a query at one time. Samples older than [`PrometheusConfig::lookback`] allows for
    /// `interval` are ignored. Prometheus itself would return a value that is up to five minutes
    /// old as the current one.
    pub async fn instant(
        &self,
        promql: &str,
        at: UnixMs,
        interval: Duration,
    ) -> Result<InstantAnswer, SourceError> {
        let more = [("time", seconds(at)), self.lookback(interval)];
        let mut answered = self.ask("query", promql, &more).await?;
        if self.ignores_lookback().await {
            answered.notes.push(IGNORES_LOOKBACK.to_owned());
        }
        Ok(InstantAnswer {
            found: answered.data.into_series(promql, at)?,
            notes: answered.notes,
            partial: answered.partial,
        })
    }

    /// Returns the series of a query at one time. Returns an error if the answer lacks a part, or
    /// if it consists of native histograms only.
    pub async fn series_at(&self, promql: &str, at: UnixMs) -> Result<Vec<Series>, SourceError> {
        let answer = self.ask("query", promql, &[("time", seconds(at))]).await?;
        let found = self.whole(answer)?.data.into_series(promql, at)?;
        numbers_only(promql, found)
    }

    /// Checks that the server answers queries at all.
    pub async fn ping(&self) -> Result<(), SourceError> {
        let now = seconds(now_ms());
        self.ask("query", "1", &[("time", now)]).await.map(|_| ())
    }

    /// Returns true if Prometheus accepts an invalid value for [`LOOKBACK`], which means that it
    /// ignores the parameter. The check is repeated until Prometheus answers it.
    async fn ignores_lookback(&self) -> bool {
        let ask = async || match self
            .ask("query", "1", &[(LOOKBACK, "no duration".to_owned())])
            .await
        {
            Ok(_) => Ok(true),
            Err(SourceError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        };
        self.ignores_lookback
            .get_or_try_init(ask)
            .await
            .is_ok_and(|ignores| *ignores)
    }

    /// Returns the lookback parameter, which both kinds of query take.
    fn lookback(&self, interval: Duration) -> (&'static str, String) {
        (
            LOOKBACK,
            format!("{}ms", self.config.lookback(interval).as_millis().max(1)),
        )
    }

    /// Evaluates a query from `from` to `to`, both inclusive, in pieces. If `interval` is given,
    /// samples older than [`PrometheusConfig::lookback`] allows for it are ignored. Returns an
    /// error if an answer lacks a part.
    pub async fn range(
        &self,
        promql: &str,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
        interval: Option<Duration>,
    ) -> Result<Vec<Series>, SourceError> {
        let lookback = interval.map(|interval| self.lookback(interval));
        let step = millis(step).max(1);
        if to < from {
            return Ok(Vec::new());
        }
        if to.saturating_sub(from) / step > MAX_POINTS {
            let reason = format!(
                "is asked for more than {MAX_POINTS} points: take a longer step or a shorter range"
            );
            return Err(SourceError::WrongShape {
                query: promql.to_owned(),
                reason,
            });
        }
        let mut all: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        let (mut start, mut points) = (from, 0);
        while start <= to {
            let end = start
                .saturating_add(step.saturating_mul(MAX_POINTS_AT_ONCE - 1))
                .min(to);
            let range = [
                ("start", seconds(start)),
                ("end", seconds(end)),
                ("step", seconds(step)),
            ];
            let more: Vec<_> = range.into_iter().chain(lookback.clone()).collect();
            let answered = self.ask("query_range", promql, &more).await?;
            let piece = self.whole(answered)?.data.into_matrix(promql)?;
            for series in piece.series {
                let samples = series.samples.into_iter();
                let samples = samples.filter(|sample| (start..=end).contains(&sample.at));
                let all = all.entry(series.labels).or_default();
                let before = all.len();
                all.extend(samples);
                points += all.len() - before;
            }
            if points > MAX_POINTS_OF_ALL {
                let reason = format!(
                    "answers more than {MAX_POINTS_OF_ALL} points: take a longer step, a shorter range or fewer series"
                );
                return Err(SourceError::WrongShape {
                    query: promql.to_owned(),
                    reason,
                });
            }
            start = end.saturating_add(step);
        }
        Ok(all
            .into_iter()
            .map(|(labels, samples)| Series { labels, samples })
            .collect())
    }

    async fn ask(
        &self,
        path: &str,
        promql: &str,
        more: &[(&str, String)],
    ) -> Result<Answered, SourceError> {
        let place = http_url::below(&self.config.url, &format!("api/v1/{path}"));
        let mut whole = place.clone();
        add_parameters(&mut whole, promql, more);
        let answer = if whole.as_str().len() > MAX_URL {
            let mut form = place.clone();
            form.set_query(None);
            add_parameters(&mut form, promql, more);
            let request = self.client.post(place.clone());
            let request = request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or_default().to_owned());
            let answer = self.send(request).await?;
            match NO_POST.contains(&answer.status) {
                true => self.send(self.client.get(whole)).await?,
                false => answer,
            }
        } else {
            self.send(self.client.get(whole)).await?
        };
        response::read(&shown(place.as_str()), promql, &answer)
    }

    async fn send(&self, request: RequestBuilder) -> Result<fetch::Answer, SourceError> {
        let bounds = Bounds {
            timeout: self.config.timeout,
            body_limit: self.config.body_limit,
        };
        self.client.send(request, bounds).await
    }

    /// Returns the error for an answer that lacks a part.
    pub fn partial(&self, reason: &str) -> SourceError {
        SourceError::Partial {
            url: shown(self.config.url.as_str()),
            reason: reason.to_owned(),
        }
    }

    /// Returns an error if the answer lacks a part.
    fn whole(&self, answered: Answered) -> Result<Answered, SourceError> {
        match &answered.partial {
            Some(reason) => Err(self.partial(reason)),
            None => Ok(answered),
        }
    }
}

fn add_parameters(url: &mut Url, promql: &str, more: &[(&str, String)]) {
    url.query_pairs_mut()
        .append_pair("query", promql)
        .extend_pairs(more);
}

/// Formats a time as Unix seconds with three decimals.
fn seconds(at: UnixMs) -> String {
    format!(
        "{}{}.{:03}",
        if at < 0 { "-" } else { "" },
        at.unsigned_abs() / 1000,
        at.unsigned_abs() % 1000
    )
}

/// Returns the series of an answer. Returns an error if they are native histograms only, because
/// the caller must not take them for no series.
fn numbers_only(promql: &str, found: Found) -> Result<Vec<Series>, SourceError> {
    if found.series.is_empty() && found.histograms > 0 {
        return Err(SourceError::WrongShape {
            query: promql.to_owned(),
            reason: "answers native histograms: ask for histogram_quantile(…) of them".to_owned(),
        });
    }
    Ok(found.series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_to_the_millisecond() {
        assert_eq!(
            (seconds(1_435_781_451_007).as_str(), seconds(-1).as_str()),
            ("1435781451.007", "-0.001")
        );
    }
}
