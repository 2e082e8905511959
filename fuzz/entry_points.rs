//! Every entry point for bytes from outside. Each entry point takes any bytes and must neither
//! panic nor hang. The fuzz targets, which run without a time limit, and the tests of the host,
//! which run for seconds, share this file.

mod answers;
mod texts;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anomalyzer_domain::{Delivery, Record, Topic};
use anomalyzer_plugin_host::{Limits, PluginConfig, Plugins};
use anomalyzer_service::Service;
use anomalyzer_wire::AcceptedTime;
use anomalyzer_wire::solutions::Received;

pub use answers::{http_sd, kubernetes, ollama, prometheus};
pub use texts::{cel, csv, names};

/// Entry point, with the name of its corpus.
pub type EntryPoint = (&'static str, fn(&[u8]));

/// All entry points.
pub const ENTRY_POINTS: [EntryPoint; 16] = [
    ("plugin", plugin),
    ("encoder", encoder),
    ("metrics", metrics),
    ("remote_write", remote_write),
    ("solutions", solutions),
    ("incidents", incidents),
    ("config", config),
    ("api", api),
    ("exposition", exposition),
    ("prometheus", prometheus),
    ("http_sd", http_sd),
    ("ollama", ollama),
    ("kubernetes", kubernetes),
    ("csv", csv),
    ("cel", cel),
    ("names", names),
];

fn delivery(topic: Topic, headers: Vec<(String, bytes::Bytes)>, payload: &[u8]) -> Delivery {
    let record = Record {
        key: None,
        headers,
        payload: payload.to_vec().into(),
    };
    Delivery {
        topic,
        partition: 0,
        offset: 1,
        published_at: Some(1_700_000_000_000),
        record,
    }
}

/// Stack of the thread that inspects, in bytes. It is that of the child.
const STACK_BYTES: usize = 8 << 20;

/// Inspects a component, as for an uploaded plugin or a plugin in the folder. Takes the steps of
/// the child in this process, so that the fuzzer sees which code is reached. Leaves core modules to
/// [`encoder`]: the step that encodes them recurses without a bound, which is the reason for the
/// child.
pub fn plugin(bytes: &[u8]) {
    if !is_component(bytes) {
        return;
    }
    std::thread::scope(|scope| {
        let inspects = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || inspect(bytes, None))
            .expect("a thread starts");
        if let Err(panic) = inspects.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Returns true if the bytes begin like a component: the magic number, a version, and the layer 1.
fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm") && bytes.get(6..8) == Some(&[1, 0])
}

/// Encodes a core module as a component, compiles it and asks it to describe itself, all in a child
/// process, as the service does. The child may end in any way, and the service reports the end.
pub fn encoder(bytes: &[u8]) {
    // A fuzz target is its own compiler. See `fuzz_targets/encoder.rs`.
    let compiler = option_env!("CARGO_BIN_EXE_anomalyzer")
        .map_or_else(anomalyzer_plugin_host::this_program, PathBuf::from);
    inspect(bytes, Some(compiler));
}

fn inspect(bytes: &[u8], compiler: Option<PathBuf>) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join("it.wasm"), bytes).expect("there is room for a file");
    let limits = Limits {
        memory_bytes: 8 << 20,
        describe_deadline: Duration::from_millis(100),
        max_component_bytes: 64 << 10,
        compile_cpu: Duration::from_secs(2),
        threads: 1,
        ..Limits::default()
    };
    let config = PluginConfig {
        folder: folder.path().to_owned(),
        limits,
        compiler,
        ..PluginConfig::default()
    };
    let plugins = Plugins::load(config).expect("a broken file is no error of the folder");
    assert_eq!(plugins.list().len(), 1);
}

/// Time at which the messages arrive.
const NOW: AcceptedTime = AcceptedTime::at(NOW_MS);
const NOW_MS: i64 = 1_769_860_800_000;

/// Decodes a message with metrics: as JSON, and as one of our own messages with its header values
/// in the first lines.
pub fn metrics(bytes: &[u8]) {
    let _ = anomalyzer_wire::metrics::decode(&delivery(Topic::Metrics, vec![], bytes), NOW);
    let mut parts = bytes.splitn(5, |byte| *byte == b'\n');
    let mut header = |name: &str| {
        (
            name.to_owned(),
            bytes::Bytes::copy_from_slice(parts.next().unwrap_or_default()),
        )
    };
    let mut headers = ["signal", "target", "observed-at", "coverage"]
        .map(&mut header)
        .to_vec();
    headers.push(("content-type".to_owned(), "application/x-protobuf".into()));
    let ours = delivery(Topic::Metrics, headers, parts.next().unwrap_or_default());
    if let Ok(batch) = anomalyzer_wire::metrics::decode(&ours, NOW) {
        // A decoded message can be encoded, and decodes to an equal batch.
        let again = anomalyzer_wire::metrics::encode(&batch);
        let again = Delivery {
            record: again,
            ..ours
        };
        let again =
            anomalyzer_wire::metrics::decode(&again, NOW).expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{batch:?}"));
    }
    // A foreign content type and a key are no reason to trust the rest of the record.
    let mut foreign = delivery(Topic::Metrics, vec![], bytes);
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    foreign.record.key = Some(String::from_utf8_lossy(bytes).into_owned());
    foreign.record.headers = vec![("content-type".to_owned(), content_type.into())];
    let _ = anomalyzer_wire::metrics::decode(&foreign, NOW);
}

/// Decodes the samples of a message, which are a snappy block of protobuf.
pub fn remote_write(bytes: &[u8]) {
    if let Ok(series) = anomalyzer_wire::remote_write::decode(bytes, NOW) {
        let again = anomalyzer_wire::remote_write::decode(
            &anomalyzer_wire::remote_write::encode(&series),
            NOW,
        );
        let again = again.expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{series:?}"));
    }
}

/// Decodes a message with a solution.
pub fn solutions(bytes: &[u8]) {
    let received = delivery(Topic::Solutions, vec![], bytes);
    let decoded = anomalyzer_wire::solutions::decode(&received, NOW_MS);
    if let Ok(Received::Claimed(solution)) = &decoded {
        let _ = anomalyzer_wire::solutions::disown(solution.clone(), &received, NOW_MS);
    }
    if let Ok(Received::Claimed(solution) | Received::Foreign(solution)) = decoded {
        let again = anomalyzer_wire::solutions::encode(&solution);
        let again = Delivery {
            record: again,
            ..delivery(Topic::Solutions, vec![], &[])
        };
        anomalyzer_wire::solutions::decode(&again, NOW_MS).expect("what was written can be read");
    }
}

/// Decodes a message with an event of an incident.
pub fn incidents(bytes: &[u8]) {
    if let Ok(event) =
        anomalyzer_wire::incidents::decode(&delivery(Topic::Incidents, vec![], bytes))
    {
        let again = anomalyzer_wire::incidents::encode(&event);
        let again = Delivery {
            record: again,
            ..delivery(Topic::Incidents, vec![], &[])
        };
        anomalyzer_wire::incidents::decode(&again).expect("what was written can be read");
        for limit in [1 << 10, 64 << 10] {
            if let Some(record) = anomalyzer_wire::incidents::encode_within(&event, limit) {
                assert!(record.size() <= limit);
            }
        }
    }
}

/// Reads the metrics that a process exposes, in both formats.
pub fn exposition(bytes: &[u8]) {
    use anomalyzer_collect::exposition::{Format, parse};
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for format in [Format::Text, Format::OpenMetrics] {
        for wanted in [true, false] {
            if let Ok(found) = parse(bytes, format, |_| wanted) {
                // A line has one sample or a reason. A sample without a readable value has both.
                assert!(found.samples.len() <= lines && found.unusable <= lines);
            }
        }
    }
}

/// Parses a configuration.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = anomalyzer_service::config::parse("it.toml".as_ref(), text)
    {
        assert!(error.to_string().starts_with("it.toml"), "{error}");
    }
}

/// Sends a request to the API. The first line is `GET /path?query`, and the rest is the body. Skips
/// `/action/…`, which waits.
pub fn api(bytes: &[u8]) {
    static SERVER: LazyLock<(tokio::runtime::Runtime, SocketAddr)> = LazyLock::new(server);
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let line: Vec<u8> = parts
        .next()
        .unwrap_or_default()
        .iter()
        .copied()
        .filter(|byte| *byte >= b' ')
        .collect();
    let body = parts.next().unwrap_or_default();
    if line.windows(7).any(|window| window == b"/action") {
        return;
    }
    let mut request = line;
    let rest = format!(
        " HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    request.extend_from_slice(rest.as_bytes());
    request.extend_from_slice(body);
    let mut stream = TcpStream::connect(SERVER.1).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout can be set");
    // The server may close the connection before it has read the whole request.
    let _ = stream.write_all(&request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => assert!(
            !answer.starts_with(b"HTTP/1.1 500"),
            "{}",
            String::from_utf8_lossy(&answer)
        ),
        Err(error) => assert!(
            error.kind() != std::io::ErrorKind::WouldBlock,
            "no answer within 5 s"
        ),
    }
}

/// Starts all of `serve` with nothing to watch.
fn server() -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    // Nothing in this process lives long enough to remove the folder at the end, so the next
    // process removes it.
    let folder = std::env::temp_dir().join("anomalyzer-fuzz-api");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("plugins")).expect("there is room for a folder");
    let text = format!(
        "data_dir = '{0}'\n[api]\nlisten = '127.0.0.1:0'\n[plugins]\nfolder = '{0}/plugins'\n[collect]\ninterval = '1h'\n",
        folder.display()
    );
    let config = anomalyzer_service::config::parse("it.toml".as_ref(), &text)
        .expect("the configuration is good");
    let running = runtime
        .block_on(Service::builder(config).start(tokio_util::sync::CancellationToken::new()));
    let running = running.expect("serve starts").expect("nothing stops it");
    let address = running.address();
    // The server runs until the process ends.
    std::mem::forget(running);
    (runtime, address)
}
