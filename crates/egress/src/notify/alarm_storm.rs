//! A storm of alarms is one notice. Once many targets alarm, their alarms join a notice with a
//! count and the first names, and later alarms join its updates.
//!
//! The alarms that no update has reported yet are in memory only. After a crash in a storm, people
//! know of the storm, and each alarm is on record.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::About;
use anomalyzer_domain::{IncidentId, Notice, OperationId, Target};
use anomalyzer_operator::{OperatorError, Performed};

/// Number of targets that may alarm within [`WINDOW`] before their alarms are a storm.
const MAX_TARGETS: usize = 5;
/// Time over which alarms are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Time that the first notice of a storm waits for further alarms.
const GATHER_TIME: Duration = Duration::from_secs(2);
/// Time until the first update. It doubles with each further update. A storm ends after such a time
/// without an alarm.
const FIRST_UPDATE: Duration = Duration::from_secs(15);
/// Longest time between two updates.
const MAX_UPDATE: Duration = Duration::from_secs(300);
/// Number of alarms that a notice names.
const MAX_NAMED: usize = 10;
/// Maximum number of targets that are told apart in one storm.
const MAX_COUNTED: usize = 100_000;

/// Field of an operation's result that says that the notice of a storm told of the alarm.
pub const JOINED: &str = "joined";

/// Result of sending a notice.
pub type Sending = Pin<Box<dyn Future<Output = Result<Performed, OperatorError>> + Send>>;
/// Sends a notice through the channels.
pub type SendNotice = Arc<dyn Fn(Notice, About) -> Sending + Send + Sync>;
/// Learns that a storm tells of an incident.
pub type JoinStorm = Arc<dyn Fn(&OperationId, &IncidentId) + Send + Sync>;

/// The way of alarms to people.
#[derive(Clone)]
pub struct AlarmRoute {
    /// Sends a notice.
    pub send: SendNotice,
    /// Is called for each alarm of a storm that has an incident. The alert of the storm lasts as
    /// long as one of these incidents.
    pub join: JoinStorm,
}

/// An alarm about a target.
pub struct Alarm {
    /// Notice of the alarm alone.
    pub notice: Notice,
    /// Context of the notice.
    pub about: About,
    /// Target that alarms.
    pub target: Target,
    /// Number of open incidents.
    pub open_incidents: usize,
    /// Number of open incidents above which there is a storm.
    pub storm_above: usize,
}

/// The storms of each channel. Clones share them.
#[derive(Clone, Default)]
pub struct AlarmStorms(Arc<Storms>);

#[derive(Default)]
struct Storms {
    channels: Mutex<HashMap<String, Channel>>,
    /// Number of alarms that joined the notice of a storm.
    bundled: AtomicU64,
}

#[derive(Default)]
struct Channel {
    /// Targets that alarmed within [`WINDOW`] without a storm, oldest first.
    recent: VecDeque<(Instant, Target)>,
    storm: Option<Storm>,
}

struct Storm {
    /// Id of the storm, which its alert has as a label.
    id: OperationId,
    targets: HashSet<Target>,
    open_incidents: usize,
    /// Number of notices about this storm.
    notices: u32,
    /// Reason why the last notice was not delivered.
    failure: Option<String>,
    /// Alarms that no notice has reported yet.
    unreported: Unreported,
    /// Alarms that wait for the first notice.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

#[derive(Default)]
struct Unreported {
    alarms: usize,
    titles: Vec<String>,
    /// The newest of the alarms.
    last: Option<(Notice, About)>,
    is_critical: bool,
}

/// The way of an alarm.
enum Joined {
    /// There is no storm: the alarm is sent by itself.
    Alone,
    /// The first notice of the storm will tell the alarm.
    Waits(oneshot::Receiver<Result<(), String>>),
    /// An update will tell the alarm, unless the notices can't be delivered.
    Counted(Result<(), String>),
}

impl AlarmStorms {
    /// Tells people of an alarm, by itself or with the notice of a storm.
    ///
    /// # Errors
    /// The notice was not delivered.
    pub async fn tell(&self, alarm: Alarm, route: AlarmRoute) -> Result<Performed, OperatorError> {
        let counted = match self.join(&alarm, &route) {
            Joined::Alone => return (route.send)(alarm.notice, alarm.about).await,
            Joined::Counted(counted) => counted,
            Joined::Waits(delivered) => delivered
                .await
                .unwrap_or_else(|_| Err("the service stops".to_owned())),
        };
        counted.map_err(|why| {
            OperatorError::Unavailable(format!("the notice of the storm was not delivered: {why}"))
        })?;
        Ok(Performed {
            result: json!({ "delivered": [], "failed": [], JOINED: "the notice of a storm" }),
            before: None,
            after: None,
            version: None,
        })
    }

    /// Returns the number of alarms that joined the notice of a storm, since the start.
    pub fn bundled(&self) -> u64 {
        self.0.bundled.load(Relaxed)
    }

    fn join(&self, alarm: &Alarm, route: &AlarmRoute) -> Joined {
        let now = Instant::now();
        let name = &alarm.notice.channel;
        let mut channels = self.0.channels.lock();
        channels.retain(|_, channel| {
            let is_recent = |(at, _): &(Instant, Target)| now.duration_since(*at) < WINDOW;
            channel.recent.retain(is_recent);
            channel.storm.is_some() || !channel.recent.is_empty()
        });
        let channel = channels.entry(name.clone()).or_default();
        if channel.storm.is_none() {
            if channel
                .recent
                .iter()
                .all(|(_, target)| *target != alarm.target)
            {
                channel.recent.push_back((now, alarm.target.clone()));
            }
            if channel.recent.len() <= MAX_TARGETS && alarm.open_incidents <= alarm.storm_above {
                return Joined::Alone;
            }
            tokio::spawn(self.clone().run(name.clone(), Arc::clone(&route.send)));
        }
        let begin = || Storm::new(&alarm.about.operation);
        let storm = channel.storm.get_or_insert_with(begin);
        if let Some(incident) = &alarm.about.incident {
            (route.join)(&storm.id, incident);
        }
        self.0.bundled.fetch_add(1, Relaxed);
        storm.join(alarm)
    }

    /// Sends the notices of a channel's storm until the storm is over.
    async fn run(self, channel: String, send: SendNotice) {
        let mut pause = GATHER_TIME;
        loop {
            sleep(pause).await;
            let Some((notice, about, unreported)) = self.due(&channel) else {
                return;
            };
            let sent = send(notice, about).await.map(drop);
            let sent = sent.map_err(|error| error.to_string());
            pause = match &sent {
                Ok(()) => (pause * 2).clamp(FIRST_UPDATE, MAX_UPDATE),
                Err(why) => {
                    tracing::warn!(channel, why, "cannot tell people of a storm; retrying");
                    FIRST_UPDATE
                }
            };
            let mut channels = self.0.channels.lock();
            if let Some(storm) = channels.get_mut(&channel).and_then(Channel::storm) {
                storm.note(sent, unreported);
            }
        }
    }

    /// Returns the next notice and the alarms in it. Ends the storm if there are none.
    fn due(&self, channel: &str) -> Option<(Notice, About, Unreported)> {
        let mut channels = self.0.channels.lock();
        let storm = channels.get_mut(channel)?.storm()?;
        let unreported = std::mem::take(&mut storm.unreported);
        let Some((notice, about)) = unreported.last.clone() else {
            channels.remove(channel);
            return None;
        };
        let (notice, about) = storm.notice(&unreported, notice, about);
        Some((notice, about, unreported))
    }
}

impl Channel {
    fn storm(&mut self) -> Option<&mut Storm> {
        self.storm.as_mut()
    }
}

impl Storm {
    /// Creates the storm that begins with the alarm of this operation.
    fn new(first: &OperationId) -> Self {
        Self {
            id: OperationId::derive(&["storm", "of", first.as_str()]),
            targets: HashSet::new(),
            open_incidents: 0,
            notices: 0,
            failure: None,
            unreported: Unreported::default(),
            waiting: Vec::new(),
        }
    }

    fn join(&mut self, alarm: &Alarm) -> Joined {
        if self.targets.len() < MAX_COUNTED {
            self.targets.insert(alarm.target.clone());
        }
        self.open_incidents = alarm.open_incidents;
        self.unreported.add(Unreported {
            alarms: 1,
            titles: vec![alarm.notice.title.clone()],
            last: Some((alarm.notice.clone(), alarm.about.clone())),
            is_critical: alarm.about.severity == "critical",
        });
        match &self.failure {
            Some(why) => Joined::Counted(Err(why.clone())),
            None if self.notices > 0 => Joined::Counted(Ok(())),
            None => {
                let (delivered, waits) = oneshot::channel();
                self.waiting.push(delivered);
                Joined::Waits(waits)
            }
        }
    }

    /// Returns the notice that tells of `unreported`. A single alarm stays as it is.
    fn notice(&self, unreported: &Unreported, last: Notice, about: About) -> (Notice, About) {
        if unreported.alarms == 1 && self.notices == 0 {
            return (last, about);
        }
        let (alarms, targets, open) = (unreported.alarms, self.targets.len(), self.open_incidents);
        let title = if self.notices == 0 {
            format!("a storm: {alarms} alarms on {targets} targets, {open} incidents are open")
        } else {
            format!(
                "the storm goes on: {alarms} more alarms, {targets} targets so far, {open} incidents are open"
            )
        };
        let mut lines = unreported.titles.clone();
        if alarms > lines.len() {
            lines.push(format!("… and {} more", alarms - lines.len()));
        }
        lines.push("all of them: GET /api/v1/incidents?open=true".to_owned());
        let severity = if unreported.is_critical {
            "critical"
        } else {
            "warning"
        };
        let notice = Notice {
            channel: last.channel,
            title,
            text: lines.join("\n"),
        };
        let about = About {
            operation: OperationId::derive(&["storm", about.operation.as_str()]),
            incident: None,
            target: None,
            severity: severity.to_owned(),
            until: None,
            storm: Some(self.id.clone()),
            ..about
        };
        (notice, about)
    }

    /// Notes the delivery of a notice. The alarms of a failed one go into the next.
    fn note(&mut self, sent: Result<(), String>, mut unreported: Unreported) {
        for waiting in self.waiting.drain(..) {
            // The receiver is gone if the operation timed out.
            let _ = waiting.send(sent.clone());
        }
        self.failure = sent.err();
        if self.failure.is_some() {
            unreported.add(std::mem::take(&mut self.unreported));
            self.unreported = unreported;
        } else {
            self.notices += 1;
        }
    }
}

impl Unreported {
    /// Adds later alarms.
    fn add(&mut self, later: Self) {
        self.alarms += later.alarms;
        self.titles.extend(later.titles);
        self.titles.truncate(MAX_NAMED);
        self.last = later.last.or(self.last.take());
        self.is_critical |= later.is_critical;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Channel that notes each notice with the time since the start, and fails at first.
    #[derive(Clone, Default)]
    struct Receiver {
        received: Arc<Mutex<Vec<(Duration, Notice, About)>>>,
        failures: Arc<Mutex<u32>>,
        joined: Arc<Mutex<Vec<(OperationId, IncidentId)>>>,
    }

    impl Receiver {
        fn sender(&self) -> AlarmRoute {
            let joined = Arc::clone(&self.joined);
            AlarmRoute {
                send: self.send(),
                join: Arc::new(move |storm, incident| {
                    joined.lock().push((storm.clone(), incident.clone()));
                }),
            }
        }

        fn send(&self) -> SendNotice {
            let (receiver, start) = (self.clone(), Instant::now());
            Arc::new(move |notice, about| {
                let receiver = receiver.clone();
                Box::pin(async move {
                    let mut failures = receiver.failures.lock();
                    if *failures > 0 {
                        *failures -= 1;
                        return Err(OperatorError::Unavailable("503".into()));
                    }
                    receiver
                        .received
                        .lock()
                        .push((start.elapsed(), notice, about));
                    Ok(Performed {
                        result: json!("sent"),
                        before: None,
                        after: None,
                        version: None,
                    })
                })
            })
        }

        fn titles(&self) -> Vec<String> {
            let received = self.received.lock();
            received
                .iter()
                .map(|(_, notice, _)| notice.title.clone())
                .collect()
        }
    }

    fn alarm(number: usize, open_incidents: usize) -> Alarm {
        let target = Target::new("shop", "Deployment", &format!("web-{number}"));
        Alarm {
            notice: Notice {
                channel: "default".into(),
                title: format!("latency on {target}"),
                text: String::new(),
            },
            about: About {
                operation: OperationId::derive(&[&number.to_string()]),
                incident: Some("inc-1".into()),
                target: Some(target.clone()),
                severity: if number == 7 { "critical" } else { "warning" }.into(),
                at: 0,
                until: None,
                storm: None,
            },
            target,
            open_incidents,
            storm_above: 20,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_alarms_are_a_handful_of_notices_and_the_first_comes_at_once() {
        for open_incidents in [0, 10_000] {
            let (storms, receiver) = (AlarmStorms::default(), Receiver::default());
            let send = receiver.sender();
            let alarms: Vec<_> = (0..10_000)
                .map(|number| {
                    let (storms, send) = (storms.clone(), send.clone());
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(10 * number as u64)).await;
                        storms.tell(alarm(number, open_incidents), send).await
                    })
                })
                .collect();
            for alarm in alarms {
                alarm.await.unwrap().unwrap();
            }
            sleep(2 * MAX_UPDATE).await;
            let received = receiver.received.lock();
            assert!(received.len() <= 12, "{} notices", received.len());
            let is_storm =
                |(_, notice, _): &&(Duration, Notice, About)| notice.title.contains("storm");
            let (at, first, about) = received.iter().find(is_storm).unwrap();
            assert!(*at < Duration::from_secs(5), "{at:?}");
            assert_eq!(
                first
                    .text
                    .lines()
                    .filter(|line| line.starts_with("latency"))
                    .count(),
                10
            );
            assert!(first.text.contains("… and ") && about.target.is_none());
            assert!(about.severity == "critical" || open_incidents == 0);
            let (_, last, _) = received.last().unwrap();
            let counted = 10_000 - if open_incidents == 0 { MAX_TARGETS } else { 0 };
            assert!(
                last.title.contains(&format!("{counted} targets so far")),
                "{}",
                last.title
            );
            let keys: HashSet<_> = received
                .iter()
                .map(|(_, _, about)| &about.operation)
                .collect();
            assert_eq!(
                keys.len(),
                received.len(),
                "each notice has an id of its own"
            );
            assert!(storms.0.channels.lock().is_empty(), "the storm is over");
            assert_eq!(storms.bundled(), counted as u64);
            let joined = receiver.joined.lock();
            assert_eq!(joined.len(), counted);
            let of_storm = received
                .iter()
                .filter_map(|(_, _, about)| about.storm.as_ref());
            let ids: HashSet<_> = of_storm
                .chain(joined.iter().map(|(storm, _)| storm))
                .collect();
            assert_eq!(ids.len(), 1, "the storm keeps its id");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_alarms_and_a_single_one_among_many_incidents_stay_as_they_are() {
        let (storms, receiver) = (AlarmStorms::default(), Receiver::default());
        let send = receiver.sender();
        for number in 0..30 {
            storms.tell(alarm(number, 20), send.clone()).await.unwrap();
            sleep(WINDOW / 5).await;
        }
        // One target that alarms again and again is no storm.
        for _ in 0..30 {
            storms.tell(alarm(99, 20), send.clone()).await.unwrap();
        }
        sleep(WINDOW).await;
        storms.tell(alarm(100, 5_000), send.clone()).await.unwrap();
        let titles = receiver.titles();
        assert_eq!(titles.len(), 61);
        assert!(
            titles.iter().all(|title| title.starts_with("latency on")),
            "{titles:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn alarms_of_a_notice_that_fails_are_not_said_to_be_told_and_go_into_the_next() {
        let (storms, receiver) = (AlarmStorms::default(), Receiver::default());
        *receiver.failures.lock() = 2;
        let send = receiver.sender();
        let tell = |number| {
            let (storms, send) = (storms.clone(), send.clone());
            tokio::spawn(async move { storms.tell(alarm(number, 100), send).await })
        };
        let first: Vec<_> = (0..20).map(tell).collect();
        for alarm in first {
            let error = alarm.await.unwrap().unwrap_err().to_string();
            assert!(error.contains("503"), "{error}");
        }
        assert!(tell(20).await.unwrap().is_err());
        sleep(3 * FIRST_UPDATE).await;
        assert_eq!(
            receiver.titles(),
            ["a storm: 21 alarms on 21 targets, 100 incidents are open"]
        );
        assert!(tell(21).await.unwrap().is_ok());
    }
}
