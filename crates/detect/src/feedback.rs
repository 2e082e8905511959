//! Feedback of people about findings. A vote for noise raises the threshold of the detector on the
//! series, and a vote for a useful finding lowers it again. Feedback survives restarts, is visible,
//! and can be taken back.

use std::path::Path;

use anomalyzer_common::json_store::{JsonStore, JsonStoreError};
use anomalyzer_common::set_aside::SetAside;
use anomalyzer_domain::{Finding, Labels, Target, UnixMs, as_rfc3339, derive};
use serde::{Deserialize, Serialize};

/// The name of the file in the data folder.
const FILE_NAME: &str = "feedback.json";
/// Factor by which one vote raises or lowers a threshold.
const VOTE_FACTOR: f64 = 1.5;
/// Lowest threshold: the detector's own.
const MIN_THRESHOLD: f64 = 1.0;
/// Highest threshold: a finding beyond it is reported whatever the votes are.
const MAX_THRESHOLD: f64 = 5.0;
/// Maximum number of series with feedback.
const MAX_SERIES: usize = 10_000;
/// Maximum number of votes kept per series.
const MAX_VOTES: usize = 50;

/// The vote of a person about a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// Id of the finding.
    pub finding: String,
    /// True for a useful finding, false for noise.
    pub useful: bool,
    /// The person.
    pub by: String,
    /// The reason.
    pub why: String,
    /// Time of the vote.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
}

/// A series as one detector sees it, with the threshold that follows from the votes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Id with which the feedback can be taken back.
    pub id: String,
    /// The signal.
    pub signal: String,
    /// The target of the series.
    pub target: Target,
    /// The series.
    pub labels: Labels,
    /// The detector's name.
    pub detector: String,
    /// Findings with a lower score are held back. The detector's own threshold is 1.
    pub threshold: f64,
    /// The votes, oldest first.
    pub votes: Vec<Vote>,
}

/// A failure to keep feedback.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The maximum number of series is reached.
    #[error("something was said about {MAX_SERIES} series already: take some back")]
    TooMany,
    /// No feedback has this id.
    #[error("nothing was said about `{0}`")]
    NotFound(String),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] JsonStoreError),
}

/// All feedback of a server.
#[derive(Clone, Debug)]
pub struct Feedback(JsonStore<Judged>);

impl Feedback {
    /// Opens the feedback in this data folder. A damaged file is moved aside.
    ///
    /// # Errors
    /// A damaged file cannot be moved aside.
    pub fn open(data_dir: &Path) -> Result<Self, FeedbackError> {
        Ok(Self(JsonStore::open(
            data_dir.join(FILE_NAME),
            "all thresholds are the detectors' own",
        )?))
    }

    /// Returns the damaged file that was moved aside at the start.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.0.set_aside()
    }

    /// Returns all feedback.
    pub fn all(&self) -> Vec<Judged> {
        self.0.with(<[Judged]>::to_vec)
    }

    /// Returns the threshold of a detector on a series.
    pub fn threshold(&self, signal: &str, target: &Target, labels: &Labels, detector: &str) -> f64 {
        self.0.with(|known| {
            if known.is_empty() {
                return MIN_THRESHOLD;
            }
            let id = id(signal, target, labels, detector);
            known
                .iter()
                .find(|judged| judged.id == id)
                .map_or(MIN_THRESHOLD, |judged| judged.threshold)
        })
    }

    /// Adds a vote about a finding, and returns the feedback about its series. The vote is durable
    /// when this returns.
    ///
    /// # Errors
    /// The maximum number of series is reached, or the file cannot be written.
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
                    None if known.len() >= MAX_SERIES => return Err(FeedbackError::TooMany),
                    None => {
                        known.push(Judged {
                            id,
                            signal: finding.signal.clone(),
                            target: target.clone(),
                            labels: finding.labels.clone(),
                            detector: finding.detector.clone(),
                            threshold: MIN_THRESHOLD,
                            votes: vec![],
                        });
                        known.len() - 1
                    }
                };
                let judged = &mut known[index];
                let moved = if vote.useful {
                    judged.threshold / VOTE_FACTOR
                } else {
                    judged.threshold * VOTE_FACTOR
                };
                judged.threshold = moved.clamp(MIN_THRESHOLD, MAX_THRESHOLD);
                judged.votes.push(vote);
                let surplus = judged.votes.len().saturating_sub(MAX_VOTES);
                judged.votes.drain(..surplus);
                Ok(judged.clone())
            })
            .await
    }

    /// Removes all feedback about a series. The removal is durable when this returns.
    ///
    /// # Errors
    /// No feedback has this id, or the file cannot be written.
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

/// Returns the greater one of score and severity, which the threshold applies to.
pub(super) fn strength(finding: &Finding) -> f64 {
    finding.score.max(finding.severity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::testing::{self, web};

    fn finding() -> Finding {
        Finding {
            id: "find-1".into(),
            labels: Labels::new([("pod", "web-1")]),
            score: 1.2,
            severity: 1.2,
            ..testing::finding("latency")
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
        let (target, finding) = (web(), &finding());
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
    fn a_file_that_can_not_be_read_is_moved_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "[{").unwrap();
        let feedback = Feedback::open(folder.path()).unwrap();
        let aside = feedback.set_aside().unwrap().to_string();
        assert!(
            aside.contains(FILE_NAME) && aside.contains("the detectors' own"),
            "{aside}"
        );
    }
}
