//! What people say of findings: one that was noise raises the threshold of that detector on that
//! series, a useful one lowers it again. Held over restarts, in the open, and taken back at will.

use std::path::Path;

use anomalyzer_common::json_store::{JsonStore, JsonStoreError};
use anomalyzer_domain::{Finding, Labels, Target, UnixMs, as_rfc3339, derive};
use serde::{Deserialize, Serialize};

/// The name of the file in the data folder.
const FILE_NAME: &str = "feedback.json";
/// So much one word raises or lowers a threshold.
const STEP: f64 = 1.5;
/// The detector's own threshold: below it nothing is heard of.
const LEAST: f64 = 1.0;
/// No further: what is that far out is told whatever was said.
const MOST: f64 = 5.0;
/// Most series about which something was said, and most that is kept of what was said about one.
const MOST_SERIES: usize = 10_000;
const MOST_VOTES: usize = 50;

/// What somebody said of a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// Which finding.
    pub finding: String,
    /// Whether it was useful, or noise.
    pub useful: bool,
    /// Who said so.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
}

/// A series as one detector sees it, and the threshold that it has by what was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// By which it is taken back.
    pub id: String,
    /// The signal.
    pub signal: String,
    /// What it speaks for.
    pub target: Target,
    /// The series.
    pub labels: Labels,
    /// The detector's name.
    pub detector: String,
    /// Findings with a lower score are held back. 1 is the detector's own threshold.
    pub threshold: f64,
    /// What was said, oldest first.
    pub votes: Vec<Vote>,
}

/// Why something that was said is not kept.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// There is enough.
    #[error("something was said about {MOST_SERIES} series already: take some back")]
    TooMany,
    /// Nothing was said.
    #[error("nothing was said about `{0}`")]
    NotFound(String),
    /// The file can't be read or written.
    #[error(transparent)]
    File(#[from] JsonStoreError),
}

/// All that was said.
#[derive(Clone, Debug)]
pub struct Feedback(JsonStore<Judged>);

impl Feedback {
    /// What was said to the server with this data folder.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn open(data_dir: &Path) -> Result<Self, FeedbackError> {
        Ok(Self(JsonStore::open(
            data_dir.join(FILE_NAME),
            "all thresholds are the detectors' own",
        )?))
    }

    /// All of it.
    pub fn all(&self) -> Vec<Judged> {
        self.0.with(<[Judged]>::to_vec)
    }

    /// The threshold of a detector on a series.
    pub fn threshold(&self, signal: &str, target: &Target, labels: &Labels, detector: &str) -> f64 {
        self.0.with(|known| {
            if known.is_empty() {
                return LEAST;
            }
            let id = id(signal, target, labels, detector);
            known
                .iter()
                .find(|judged| judged.id == id)
                .map_or(LEAST, |judged| judged.threshold)
        })
    }

    /// Takes in what somebody said of a finding; durable when this returns. Answers how it is now.
    ///
    /// # Errors
    /// There is too much, or the file can't be written.
    pub async fn say(
        &self,
        target: &Target,
        finding: &Finding,
        vote: Vote,
    ) -> Result<Judged, FeedbackError> {
        self.0
            .change(|known| {
                let id = id(&finding.signal, target, &finding.labels, &finding.detector);
                let index = match known.iter().position(|judged| judged.id == id) {
                    Some(index) => index,
                    None if known.len() >= MOST_SERIES => return Err(FeedbackError::TooMany),
                    None => {
                        known.push(Judged {
                            id,
                            signal: finding.signal.clone(),
                            target: target.clone(),
                            labels: finding.labels.clone(),
                            detector: finding.detector.clone(),
                            threshold: LEAST,
                            votes: vec![],
                        });
                        known.len() - 1
                    }
                };
                let judged = &mut known[index];
                let moved = if vote.useful {
                    judged.threshold / STEP
                } else {
                    judged.threshold * STEP
                };
                judged.threshold = moved.clamp(LEAST, MOST);
                judged.votes.push(vote);
                let surplus = judged.votes.len().saturating_sub(MOST_VOTES);
                judged.votes.drain(..surplus);
                Ok(judged.clone())
            })
            .await
    }

    /// Takes back all that was said about a series; durable when this returns.
    ///
    /// # Errors
    /// Nothing was said about it, or the file can't be written.
    pub async fn take_back(&self, id: &str) -> Result<Judged, FeedbackError> {
        self.0
            .change(|known| {
                let index = known.iter().position(|judged| judged.id == id);
                index
                    .map(|index| known.remove(index))
                    .ok_or_else(|| FeedbackError::NotFound(id.to_owned()))
            })
            .await
    }
}

fn id(signal: &str, target: &Target, labels: &Labels, detector: &str) -> String {
    format!(
        "fb-{}",
        derive(&[signal, &target.key(), &labels.to_string(), detector])
    )
}

/// How far out a finding is, at its worst.
pub(super) fn strength(finding: &Finding) -> f64 {
    finding.score.max(finding.severity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Direction, Meaning, Phase};

    fn finding() -> Finding {
        Finding {
            id: "find-1".into(),
            signal: "latency".into(),
            meaning: Meaning::Latency,
            labels: Labels::new([("pod", "web-1")]),
            detector: "zscore".into(),
            detector_digest: String::new(),
            onset_at: 0,
            at: 0,
            phase: Phase::Onset,
            direction: Direction::Above,
            score: 1.2,
            severity: 1.2,
            observed: None,
            expected: None,
            reason: String::new(),
        }
    }

    fn vote(useful: bool) -> Vote {
        Vote {
            finding: "find-1".into(),
            useful,
            by: "ada".into(),
            why: String::new(),
            at: 7,
        }
    }

    #[tokio::test]
    async fn noise_raises_the_threshold_of_that_series_within_bounds_and_use_lowers_it() {
        let folder = tempfile::tempdir().unwrap();
        let feedback = Feedback::open(folder.path()).unwrap();
        let (target, finding) = (Target::new("shop", "Deployment", "web"), &finding());
        let now = |feedback: &Feedback, detector: &str| {
            feedback.threshold(&finding.signal, &target, &finding.labels, detector)
        };
        assert_eq!(now(&feedback, &finding.detector), 1.0);
        for expected in [1.5, 2.25, 3.375, 5.0, 5.0] {
            let judged = feedback.say(&target, finding, vote(false)).await.unwrap();
            assert_eq!(
                (judged.threshold, now(&feedback, &finding.detector)),
                (expected, expected)
            );
        }
        assert_eq!(now(&feedback, "another"), 1.0);
        let again = Feedback::open(folder.path()).unwrap();
        assert_eq!(now(&again, &finding.detector), 5.0);
        for _ in 0..5 {
            again.say(&target, finding, vote(true)).await.unwrap();
        }
        assert_eq!(now(&again, &finding.detector), 1.0);
        let id = again.all()[0].id.clone();
        assert_eq!(again.take_back(&id).await.unwrap().votes.len(), 10);
        assert!(matches!(
            again.take_back(&id).await,
            Err(FeedbackError::NotFound(_))
        ));
    }

    #[test]
    fn a_file_that_can_not_be_read_is_an_error_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "[{").unwrap();
        let error = Feedback::open(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(FILE_NAME) && error.contains("correct or remove"),
            "{error}"
        );
    }
}
