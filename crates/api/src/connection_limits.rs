//! Places of connections and requests, so that slow or hostile clients cost themselves only.
//!
//! A connection without a request under way is idle, and is closed when its place is needed: the
//! oldest one of the peer with the most connections. Requests take places too. Their number is
//! smaller than that of connections, so that a new connection always gets a place. Requests of
//! probes take none: a connection with a probe under way counts as idle, because a probe ends at
//! once unless its client reads nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::problem::Problem;
use anomalyzer_common::metrics::{Counter, Metrics};

/// Time that a connection has in any case to send the head of its request.
const MIN_HEAD_TIME: Duration = Duration::from_millis(200);
/// Longest time until the head of the next request on a connection has arrived.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time until the head has arrived while most places are taken.
const CROWDED_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Numbers of places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections that may be open at the same time.
    pub connections: usize,
    /// Connections of one peer.
    pub peer_connections: usize,
    /// Requests that may be under way, except for those of probes.
    pub requests: usize,
    /// Requests of one peer under way, except for those of probes.
    pub peer_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            peer_connections: 448,
            requests: 384,
            peer_requests: 256,
        }
    }
}

/// Counters of the connections and requests that got no place.
#[derive(Clone)]
pub(super) struct Refusals {
    /// Idle connections that were closed to make room.
    pub closed: Counter,
    /// Connections that could not be accepted.
    pub not_accepted: Counter,
    requests: Counter,
}

impl Refusals {
    /// Registers the counters.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let connections = |reason| {
            let name = "anomalyzer_http_connections_refused_total";
            let help = "Connections that were closed to make room, or could not be accepted.";
            metrics.counter(name, help, &[("reason", reason)])
        };
        Self {
            closed: connections("room"),
            not_accepted: connections("accept"),
            requests: metrics.counter(
                "anomalyzer_http_requests_refused_total",
                "Requests that were refused because too many were under way.",
                &[],
            ),
        }
    }
}

/// The places of a server.
pub(super) struct Places {
    limits: Limits,
    pub(super) refusals: Refusals,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// The connections by their number, oldest first.
    connections: BTreeMap<u64, Connection>,
    next: u64,
    requests: usize,
    peer_requests: HashMap<IpAddr, usize>,
}

struct Connection {
    peer: IpAddr,
    opened_at: Instant,
    /// Start of the connection or of its last probe, or end of its last request.
    idle_since: Instant,
    /// Number of its requests under way, except for those of probes.
    requests: usize,
    /// Handle that closes it.
    task: Option<AbortHandle>,
}

impl Connection {
    /// Returns the time for which the connection keeps its place in any case, if it is idle. The
    /// time begins with the connection, so that a client that repeats requests can't prolong it.
    fn time_left(&self) -> Option<Duration> {
        let is_idle = self.requests == 0 && self.task.is_some();
        is_idle.then(|| MIN_HEAD_TIME.saturating_sub(self.opened_at.elapsed()))
    }
}

impl Places {
    pub(super) fn new(limits: Limits, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            limits,
            refusals: Refusals::new(metrics),
            taken: Mutex::default(),
        })
    }

    /// Waits until there is room for a connection of a peer. Closes an idle connection if there is
    /// none.
    pub(super) async fn make_room(&self, peer: IpAddr) {
        let peer = subnet(peer);
        loop {
            match self.surplus(peer) {
                None => return,
                Some(Some((number, Duration::ZERO))) => self.close(number),
                // Each connection gets the time to send its head, at any rate of new connections.
                Some(Some((_, time_left))) => sleep(time_left).await,
                Some(None) => sleep(MIN_HEAD_TIME).await,
            }
        }
    }

    /// Closes an idle connection, for a machine that has no file descriptors left.
    pub(super) fn close_one(&self) {
        let oldest = self.taken.lock().oldest_idle(None);
        if let Some((number, _)) = oldest {
            self.close(number);
        }
    }

    /// Returns the connection to close, if one must be, and the time until it may be closed.
    fn surplus(&self, peer: IpAddr) -> Option<Option<(u64, Duration)>> {
        let taken = self.taken.lock();
        let of_peer = taken.connections.values().filter(|one| one.peer == peer);
        if of_peer.count() >= self.limits.peer_connections {
            return Some(taken.oldest_idle(Some(peer)));
        }
        (taken.connections.len() >= self.limits.connections).then(|| taken.oldest_idle(None))
    }

    fn close(&self, number: u64) {
        let mut taken = self.taken.lock();
        let is_idle = |one: &Connection| one.requests == 0;
        if taken.connections.get(&number).is_some_and(is_idle)
            && let Some(connection) = taken.connections.remove(&number)
            && let Some(task) = connection.task
        {
            tracing::debug!(peer = %connection.peer, "closing an idle connection to make room");
            self.refusals.closed.increment();
            task.abort();
        }
    }

    /// Returns the time that a new connection has to send the head of a request.
    pub(super) fn head_timeout(&self) -> Duration {
        let open = self.taken.lock().connections.len();
        if open >= self.limits.connections / 4 * 3 {
            CROWDED_HEAD_TIMEOUT
        } else {
            HEAD_TIMEOUT
        }
    }

    /// Takes a place for a connection.
    pub(super) fn connect(self: &Arc<Self>, peer: IpAddr) -> ConnectionPlace {
        let peer = subnet(peer);
        let mut taken = self.taken.lock();
        let number = taken.next;
        taken.next += 1;
        let now = Instant::now();
        let connection = Connection {
            peer,
            opened_at: now,
            idle_since: now,
            requests: 0,
            task: None,
        };
        taken.connections.insert(number, connection);
        ConnectionPlace {
            places: Arc::clone(self),
            peer,
            number,
        }
    }

    /// Notes the task of a connection, so that the connection can be closed.
    pub(super) fn note_task(&self, number: u64, task: AbortHandle) {
        if let Some(connection) = self.taken.lock().connections.get_mut(&number) {
            connection.task = Some(task);
        }
    }
}

impl Taken {
    /// Returns the oldest idle connection, of `peer` or else of the peer with the most connections,
    /// and the time until it may be closed.
    fn oldest_idle(&self, peer: Option<IpAddr>) -> Option<(u64, Duration)> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        if peer.is_none() {
            for connection in self.connections.values() {
                *counts.entry(connection.peer).or_default() += 1;
            }
        }
        let of_peer = self
            .connections
            .iter()
            .filter(|(_, connection)| peer.is_none_or(|peer| connection.peer == peer));
        let idle = of_peer.filter_map(|(number, connection)| {
            let time_left = connection.time_left()?;
            let count = counts.get(&connection.peer).copied().unwrap_or_default();
            let order = (usize::MAX - count, time_left, connection.idle_since);
            Some((order, (*number, time_left)))
        });
        idle.min().map(|(_, oldest)| oldest)
    }
}

/// Place of a connection. Dropping it frees the place.
pub(super) struct ConnectionPlace {
    places: Arc<Places>,
    peer: IpAddr,
    /// Number of the connection.
    pub number: u64,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.places.taken.lock().connections.remove(&self.number);
    }
}

impl ConnectionPlace {
    /// Takes a place for a request. Returns `None` if there is none.
    fn begin(self: &Arc<Self>, is_probe: bool) -> Option<RequestPlace> {
        let limits = self.places.limits;
        let mut taken = self.places.taken.lock();
        if !is_probe {
            let of_peer = taken.peer_requests.get(&self.peer).copied();
            let of_peer = of_peer.unwrap_or_default();
            if taken.requests >= limits.requests || of_peer >= limits.peer_requests {
                return None;
            }
            taken.requests += 1;
            taken.peer_requests.insert(self.peer, of_peer + 1);
        }
        if let Some(connection) = taken.connections.get_mut(&self.number) {
            connection.requests += usize::from(!is_probe);
            connection.idle_since = Instant::now();
        }
        Some(RequestPlace {
            connection: Arc::clone(self),
            is_probe,
        })
    }
}

/// Place of a request. Dropping it frees the place.
struct RequestPlace {
    connection: Arc<ConnectionPlace>,
    is_probe: bool,
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        let ConnectionPlace {
            places,
            peer,
            number,
        } = &*self.connection;
        let mut taken = places.taken.lock();
        if !self.is_probe {
            taken.requests = taken.requests.saturating_sub(1);
            if let Some(count) = taken.peer_requests.get_mut(peer) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    taken.peer_requests.remove(peer);
                }
            }
        }
        if let Some(connection) = taken.connections.get_mut(number) {
            let ended = usize::from(!self.is_probe);
            connection.requests = connection.requests.saturating_sub(ended);
            connection.idle_since = Instant::now();
        }
    }
}

/// Middleware of one connection: takes a place for the request until its answer is sent, or refuses
/// the request.
pub(super) async fn admit(
    State(connection): State<Arc<ConnectionPlace>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(place) = connection.begin(is_probe(&request)) else {
        connection.places.refusals.requests.increment();
        let mut response = busy().into_response();
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    };
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(PlacedBody {
            body,
            _place: place,
        })
    })
}

/// Returns true for a request of a probe or of a scrape. Its answer is short and never waits.
fn is_probe(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads
        && matches!(
            request.uri().path(),
            "/health" | "/healthz" | "/live" | "/livez" | "/ready" | "/readyz" | "/metrics"
        )
}

fn busy() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "Too many requests are under way",
        "all places for requests, or all places of this client, are taken",
        "send the request again later, and fewer requests at a time",
    )
}

/// Returns the address that stands for a peer. A host has a whole /64 of IPv6 addresses.
fn subnet(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Body of an answer that keeps the place of its request.
struct PlacedBody {
    body: Body,
    _place: RequestPlace,
}

impl HttpBody for PlacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_or_a_subnet() {
        let peer = |text: &str| subnet(text.parse().unwrap()).to_string();
        assert_eq!(peer("10.0.0.7"), "10.0.0.7");
        assert_eq!(peer("::ffff:10.0.0.7"), "10.0.0.7");
        assert_eq!(peer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(peer("::1"), "::1");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_connection_of_the_greediest_peer_makes_room() {
        let limits = Limits {
            connections: 4,
            peer_connections: 3,
            requests: 2,
            peer_requests: 2,
        };
        let places = Places::new(limits, &Metrics::default());
        let (greedy, honest): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let open = |peer| {
            let place = Arc::new(places.connect(peer));
            let kept = Arc::clone(&place);
            let task = tokio::spawn(async move {
                let _kept = kept;
                std::future::pending::<()>().await;
            });
            places.note_task(place.number, task.abort_handle());
            (place, task)
        };
        let old = open(honest);
        let busy = open(greedy);
        let _request = busy.0.begin(false).unwrap();
        sleep(MIN_HEAD_TIME).await;
        let (first, second) = (open(greedy), open(greedy));
        places.make_room(honest).await;
        assert!(first.1.await.unwrap_err().is_cancelled());
        assert_eq!(places.refusals.closed.value(), 1);
        assert!(!old.1.is_finished() && !busy.1.is_finished() && !second.1.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_probe_under_way_or_with_served_requests_makes_room_at_once() {
        let limits = Limits {
            connections: 4,
            peer_connections: 3,
            requests: 2,
            peer_requests: 2,
        };
        for (is_probe, is_served) in [(true, false), (true, true), (false, true)] {
            let places = Places::new(limits, &Metrics::default());
            let peer: IpAddr = "10.0.0.1".parse().unwrap();
            let place = Arc::new(places.connect(peer));
            let task = tokio::spawn(std::future::pending::<()>());
            places.note_task(place.number, task.abort_handle());
            let request = place.begin(is_probe).unwrap();
            let request = (!is_served).then_some(request);
            sleep(MIN_HEAD_TIME).await;
            let _others = [places.connect(peer), places.connect(peer)];
            let began = Instant::now();
            places.make_room(peer).await;
            assert_eq!(began.elapsed(), Duration::ZERO, "{is_probe} {is_served}");
            assert!(task.await.unwrap_err().is_cancelled());
            drop(request);
        }
    }
}
