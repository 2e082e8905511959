//! Every way in for bytes that someone else wrote. Each takes what comes and must neither panic nor
//! hang. Shared by the fuzz targets, which run for as long as they are let, and by the tests of the
//! host, which run for seconds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use anomalyzer_domain::{Delivery, Record, Topic};
use anomalyzer_plugin_host::{Limits, PluginConfig, Plugins};
use anomalyzer_service::Role;
use anomalyzer_wire::Believed;
use anomalyzer_wire::solutions::Received;

/// A door, by the name of its corpus.
pub type Door = (&'static str, fn(&[u8]));

/// All of them.
pub const DOORS: [Door; 7] = [
    ("plugin", plugin),
    ("metrics", metrics),
    ("remote_write", remote_write),
    ("solutions", solutions),
    ("incidents", incidents),
    ("config", config),
    ("api", api),
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

/// A component: looked at as an uploaded one or one in the folder is.
pub fn plugin(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join("it.wasm"), bytes).expect("there is room for a file");
    let limits = Limits {
        memory_bytes: 8 << 20,
        describe_deadline: Duration::from_millis(100),
        max_component_bytes: 64 << 10,
        threads: 1,
        ..Limits::default()
    };
    let config = PluginConfig {
        folder: folder.path().to_owned(),
        limits,
        ..PluginConfig::default()
    };
    let plugins = Plugins::load(config).expect("a broken file is no error of the folder");
    assert_eq!(plugins.list().len(), 1);
}

/// When the messages arrive.
const NOW: Believed = Believed::at(1_769_860_800_000);

/// A message with metrics: JSON, or one of ours with what its headers say in the first lines.
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
        // What was read can be written, and is then the same.
        let again = anomalyzer_wire::metrics::encode(&batch);
        let again = Delivery {
            record: again,
            ..ours
        };
        let again =
            anomalyzer_wire::metrics::decode(&again, NOW).expect("what was written can be read");
        assert_eq!(format!("{again:?}"), format!("{batch:?}"));
    }
}

/// The samples of a message: a snappy block of protobuf.
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

/// A message with a solution.
pub fn solutions(bytes: &[u8]) {
    if let Ok(Received::Claimed(solution) | Received::Foreign(solution)) =
        anomalyzer_wire::solutions::decode(&delivery(Topic::Solutions, vec![], bytes), NOW)
    {
        let again = anomalyzer_wire::solutions::encode(&solution);
        let again = Delivery {
            record: again,
            ..delivery(Topic::Solutions, vec![], &[])
        };
        anomalyzer_wire::solutions::decode(&again, NOW).expect("what was written can be read");
    }
}

/// A message with an event of an incident.
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
    }
}

/// A configuration.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = anomalyzer_service::config::parse("it.toml".as_ref(), text)
    {
        assert!(error.to_string().starts_with("it.toml"), "{error}");
    }
}

/// A request to the API: `GET /path?query` in the first line, the body after it. Not `/action/…`,
/// which waits.
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
    // It may have heard enough before all is said.
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

/// All of `serve` with nothing to watch.
fn server() -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    // Nothing of this process lives long enough to remove it in the end, so the next does.
    let folder = std::env::temp_dir().join("anomalyzer-fuzz-api");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("plugins")).expect("there is room for a folder");
    let text = format!(
        "data_dir = '{0}'\n[api]\nlisten = '127.0.0.1:0'\n[plugins]\nfolder = '{0}/plugins'\n[collect]\ninterval = '1h'\n",
        folder.display()
    );
    let config = anomalyzer_service::config::parse("it.toml".as_ref(), &text)
        .expect("the configuration is good");
    let running = runtime.block_on(serve::start(
        config,
        Role::Both,
        tokio_util::sync::CancellationToken::new(),
    ));
    let running = running.expect("serve starts").expect("nothing stops it");
    let address = running.address();
    // It runs until the process ends.
    std::mem::forget(running);
    (runtime, address)
}
