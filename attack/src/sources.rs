//! Hostile answers of scraped targets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Arguments;
use crate::service::{Options, Service, until};
use crate::tally::Tally;

/// Most resident memory, in MiB.
const MAX_RESIDENT: u64 = 500;

/// A web server whose answers an attacker chooses.
pub struct Target {
    pub address: SocketAddr,
    pub asked: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Target {
    /// Starts a server that answers the request number `n` with the bytes of `answer(n)`, and
    /// repeats their last part `repeats` times.
    pub async fn start(
        answer: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
        tail: Vec<u8>,
        repeats: usize,
        pause: Duration,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let counter = asked.clone();
        let (answer, tail) = (Arc::new(answer), Arc::new(tail));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let (answer, tail) = (answer.clone(), tail.clone());
                tokio::spawn(async move {
                    let _ = reply(stream, answer(number), &tail, repeats, pause).await;
                });
            }
        });
        Ok(Self {
            address,
            asked,
            task,
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reply(
    mut stream: TcpStream,
    answer: Vec<u8>,
    tail: &[u8],
    repeats: usize,
    pause: Duration,
) -> std::io::Result<()> {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await?;
    stream.write_all(&answer).await?;
    for _ in 0..repeats {
        stream.write_all(tail).await?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    stream.shutdown().await
}

/// Returns a whole answer with a body.
pub fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns a configuration that scrapes an address each second.
pub fn scraping(address: SocketAddr, signal: &str) -> String {
    format!(
        "[collect]\ninterval = \"1s\"\n[[collect.scrape]]\njob = \"t\"\ntimeout = \"1s\"\n\
         targets = {{ urls = [\"http://{address}/metrics\"] }}\n{signal}"
    )
}

/// The signal of the gauge `m`.
const SIGNAL: &str = "[[signal]]\nname = \"m\"\ntarget = { kind = \"Process\", name = \"g\" }\n\
    source = { gauge = { of = \"m\" } }\ndetectors = [{ name = \"zscore\" }]\n";

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut waiting = answers();
    waiting.extend(bodies());
    while !waiting.is_empty() {
        let group = waiting.split_off(waiting.len().saturating_sub(4));
        let outcomes = group.into_iter().map(|answer| one(arguments, answer));
        for fault in futures::future::try_join_all(outcomes).await? {
            tally.attempt(fault.is_none(), || fault.unwrap_or_default());
        }
    }
    Ok(tally)
}

/// Scrapes a target with one kind of answer. Returns the fault that it shows.
async fn one(
    arguments: &Arguments,
    (name, answer, tail, repeats, pause): Answer,
) -> Result<Option<String>> {
    let target = Target::start(move |_| answer.clone(), tail, repeats, pause).await?;
    let options = Options {
        config: scraping(target.address, SIGNAL),
        plugins: vec!["zscore", "no-action"],
        ..Options::default()
    };
    let mut service = Service::start(arguments, options).await?;
    let asked = until(Duration::from_secs(15), async || {
        target.asked.load(Ordering::Relaxed) >= 2
    })
    .await;
    let (resident, trouble) = (service.resident(), service.trouble().await);
    let held = asked && trouble.is_none() && resident < MAX_RESIDENT;
    let panicked = service.log().contains("panicked");
    Ok((!held || panicked).then(|| {
        format!("{name}: {resident} MiB, asked twice: {asked}, panicked: {panicked}, {trouble:?}")
    }))
}

type Answer = (&'static str, Vec<u8>, Vec<u8>, usize, Duration);

/// Returns answers that break HTTP, or that are too long or too slow.
fn answers() -> Vec<Answer> {
    let now = Duration::ZERO;
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}\r\n").into_bytes();
    let chunked = head("Transfer-Encoding: chunked\r\n");
    vec![
        (
            "400 MB",
            head("Content-Length: 419430400\r\n"),
            vec![b'm'; 1 << 20],
            400,
            now,
        ),
        (
            "400 MB in chunks",
            chunked,
            [
                b"100000\r\n".to_vec(),
                vec![b'm'; 1 << 20],
                b"\r\n".to_vec(),
            ]
            .concat(),
            400,
            now,
        ),
        (
            "an endless head",
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"X-A: aaaaaaaaaaaaaaaa\r\n".repeat(1000),
            1000,
            now,
        ),
        (
            "a drip",
            head("Content-Length: 1000\r\n"),
            b"m".to_vec(),
            100,
            Duration::from_millis(200),
        ),
        ("no answer", vec![], vec![], 1, Duration::from_secs(10)),
        (
            "a cut answer",
            head("Content-Length: 1000\r\n"),
            b"m 1\n".to_vec(),
            1,
            now,
        ),
        (
            "a redirect to itself",
            b"HTTP/1.1 302 Found\r\nLocation: /metrics\r\nContent-Length: 0\r\n\r\n".to_vec(),
            vec![],
            0,
            now,
        ),
        (
            "a redirect to a file",
            b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
            vec![],
            0,
            now,
        ),
        (
            "a gzip bomb",
            head("Content-Encoding: gzip\r\n"),
            gzip_bomb(),
            1,
            now,
        ),
        (
            "broken gzip",
            head("Content-Encoding: gzip\r\nContent-Length: 4\r\n"),
            b"\x1f\x8b\x08\xff".to_vec(),
            1,
            now,
        ),
        (
            "binary",
            head("Content-Length: 256\r\n"),
            (0..=255).collect(),
            1,
            now,
        ),
        (
            "no HTTP",
            b"\x16\x03\x01\x02".to_vec(),
            vec![0; 1000],
            1,
            now,
        ),
    ]
}

/// Returns whole answers with hostile bodies.
fn bodies() -> Vec<Answer> {
    let one = |name, body: &str| (name, ok(body), vec![], 0, Duration::ZERO);
    vec![
        one("NaN", "m NaN\n"),
        one("infinity", "m +Inf\n"),
        one("a huge number", "m 1e999\n"),
        one("a time in the year 9999", "m 1 253402300799000\n"),
        one("a negative time", "m 1 -9223372036854775808\n"),
        one(
            "a line of 1 MB",
            &format!("m{{a=\"{}\"}} 1\n", "a".repeat(1 << 20)),
        ),
        one(
            "10,000 labels",
            &format!(
                "m{{{}}} 1\n",
                (0..10_000)
                    .map(|n| format!("a{n}=\"\","))
                    .collect::<String>()
            ),
        ),
        one("100,000 equal series", &"m 1\n".repeat(100_000)),
        one("an open brace", "m{a=\"b\n"),
        one(
            "names with control characters",
            "m{a=\"\u{1b}[2J\u{202e}\"} 1\n",
        ),
        one("comments only", &"# HELP m \u{202e}\n".repeat(1_000)),
        one("empty", ""),
    ]
}

/// Returns 1 GiB of zeros in gzip form: one stored dictionary, and matches of 258 bytes each.
fn gzip_bomb() -> Vec<u8> {
    // A fixed Huffman block: a literal 0, then matches of length 258 at distance 1, of 13 bits.
    let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut push = |value: u64, width: u32, bytes: &mut Vec<u8>| {
        bits |= value << count;
        count += width;
        while count >= 8 {
            bytes.push(u8::try_from(bits & 255).unwrap_or(0));
            bits >>= 8;
            count -= 8;
        }
    };
    push(0b011, 3, &mut bytes);
    // The literal 0 is the code 00110000, sent with its first bit first.
    push(0b0000_1100, 8, &mut bytes);
    for _ in 0..4_000_000 {
        // The length code 285 is 11000101, and the distance code 0 is 00000.
        push(0b1010_0011, 8, &mut bytes);
        push(0, 5, &mut bytes);
    }
    push(0, 7, &mut bytes);
    push(0, 8, &mut bytes);
    bytes
}
