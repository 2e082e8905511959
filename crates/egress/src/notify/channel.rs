//! State of one channel: its turn, its pauses, and the counts that health and metrics show.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::ChannelConfig;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::UnixMs;

/// Maximum number of concurrent requests to one channel.
const AT_ONCE: usize = 4;
/// Maximum number of notices that wait for one channel.
pub const MAX_WAITING: usize = 1_000;
/// Time after which a channel that fails is reported.
const REPORT_AFTER: Duration = Duration::from_secs(60);

/// A channel, and how well it works.
#[derive(Debug)]
pub struct Channel {
    /// Name of the channel.
    pub name: String,
    /// Configuration of the channel.
    pub config: ChannelConfig,
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    delivered: u64,
    lost: u64,
    failing: Option<Failing>,
    paused_until: Option<Instant>,
}

/// The failures since the last success.
#[derive(Clone, Debug)]
struct Failing {
    since: UnixMs,
    began: Instant,
    why: String,
    lost: u64,
    /// True once people were told by the other channels.
    reported: bool,
}

/// State of a channel, for health, metrics and `status`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChannelStatus {
    /// Name of the channel.
    pub channel: String,
    /// Notices that wait for it.
    pub waiting: usize,
    /// Notices that it accepted since the start.
    pub delivered: u64,
    /// Notices that were abandoned since the start.
    pub lost: u64,
    /// Problem, if it fails for a minute or a notice was abandoned since its last success.
    pub problem: Option<String>,
}

impl Channel {
    /// Creates a channel that has sent nothing yet.
    pub fn new(name: String, config: ChannelConfig) -> Self {
        Self {
            name,
            config,
            slots: Semaphore::new(AT_ONCE),
            state: Mutex::default(),
        }
    }

    /// Takes a place for one more notice. Returns false if all places are taken.
    pub fn enter(&self) -> bool {
        let mut state = self.state.lock();
        let free = state.waiting < MAX_WAITING;
        state.waiting += usize::from(free);
        free
    }

    /// Gives the place of a notice back.
    pub fn leave(&self) {
        let mut state = self.state.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }

    /// Waits for a turn. A pause holds everybody up, because the receiver counts all requests.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.slots.acquire().await.ok();
        loop {
            let until = self.state.lock().paused_until;
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return turn,
            }
        }
    }

    /// Begins a pause, unless a longer one is under way.
    pub fn pause(&self, time: Duration) {
        let mut state = self.state.lock();
        let until = Instant::now() + time;
        state.paused_until = Some(state.paused_until.map_or(until, |known| known.max(until)));
    }

    /// Notes a success.
    pub fn succeeded(&self, notices: u64) {
        let mut state = self.state.lock();
        state.delivered += notices;
        state.failing = None;
    }

    /// Notes a failed attempt, or a notice that was abandoned. Returns the problem if people are to
    /// be told of it now: once per period of failures.
    pub fn failed(&self, why: &str, abandoned: bool) -> Option<String> {
        let mut state = self.state.lock();
        state.lost += u64::from(abandoned);
        let failing = state.failing.get_or_insert_with(|| Failing {
            since: now_ms(),
            began: Instant::now(),
            why: String::new(),
            lost: 0,
            reported: false,
        });
        why.clone_into(&mut failing.why);
        failing.lost += u64::from(abandoned);
        if failing.reported || !failing.is_problem() {
            return None;
        }
        failing.reported = true;
        Some(failing.describe())
    }

    /// Returns the state of the channel.
    pub fn status(&self) -> ChannelStatus {
        let state = self.state.lock();
        let problem = state
            .failing
            .as_ref()
            .filter(|failing| failing.is_problem());
        ChannelStatus {
            channel: self.name.clone(),
            waiting: state.waiting,
            delivered: state.delivered,
            lost: state.lost,
            problem: problem.map(Failing::describe),
        }
    }
}

impl Failing {
    /// Returns true if the failures are worth a report. A receiver that is busy for a moment is
    /// not.
    fn is_problem(&self) -> bool {
        self.lost > 0 || self.began.elapsed() >= REPORT_AFTER
    }

    fn describe(&self) -> String {
        let lost = match self.lost {
            0 => String::new(),
            lost => format!(", {lost} abandoned"),
        };
        let since = anomalyzer_domain::rfc3339(self.since);
        format!("fails since {since}{lost}: {}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::ChannelKind;

    fn channel() -> Channel {
        Channel::new("chat".into(), ChannelConfig::new(ChannelKind::Slack, None))
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_is_told_once_per_period_of_failures() {
        let channel = channel();
        assert_eq!(channel.failed("it answered 429", false), None);
        assert_eq!(channel.status().problem, None);
        tokio::time::advance(REPORT_AFTER).await;
        let told = channel.failed("it answered 503", false).unwrap();
        assert!(told.ends_with("it answered 503"), "{told}");
        assert_eq!(channel.failed("it answered 503", true), None);
        assert!(channel.status().problem.unwrap().contains("1 abandoned"));
        channel.succeeded(1);
        assert_eq!(channel.status().problem, None);
        // People are told of an abandoned notice at once.
        assert!(channel.failed("it answered 404", true).is_some());
        assert_eq!((channel.status().lost, channel.status().delivered), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_up_every_request_and_places_are_bounded() {
        let channel = channel();
        channel.pause(Duration::from_secs(30));
        channel.pause(Duration::from_secs(1));
        let began = Instant::now();
        drop(channel.turn().await);
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(
            (0..MAX_WAITING + 9).filter(|_| channel.enter()).count(),
            MAX_WAITING
        );
        channel.leave();
        assert!(channel.enter() && !channel.enter());
    }
}
