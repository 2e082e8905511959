//! Tests of kubeconfigs as they are: token files, credential plugins, proxies, TLS names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anomalyzer_operator::Operator;
use anomalyzer_operator_kubernetes::{Kubernetes, KubernetesConfig};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::receiver::{Answer, Receiver, nobody};

const VERSION: &str = r#"{"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
    "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}"#;

fn version() -> Answer {
    Answer::Say(200, VERSION.into())
}

fn unauthorized() -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": 401, "reason": "Unauthorized", "message": "no"});
    Answer::Say(401, status.to_string())
}

/// Writes a kubeconfig, and returns the configuration that names it.
fn kubeconfig(folder: &TempDir, cluster: &Value, user: &Value) -> KubernetesConfig {
    let path = folder.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    KubernetesConfig {
        kubeconfig: Some(path),
        request_timeout: Duration::from_secs(5),
        ..KubernetesConfig::default()
    }
}

async fn refused(config: &KubernetesConfig) -> String {
    let connected = Kubernetes::connect(config).await;
    let error = match connected {
        Ok(_) => panic!(
            "{:?}",
            std::fs::read_to_string(config.kubeconfig.as_ref().unwrap())
        ),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("kubeconfig"), "{error}");
    error
}

fn tokens(receiver: &Receiver) -> Vec<String> {
    let received = receiver.received();
    let tokens = received
        .iter()
        .map(|it| it.header("authorization").to_owned());
    tokens.collect()
}

#[tokio::test]
async fn a_token_file_is_read_again_when_its_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([version(), unauthorized(), version(), version()]).await;
    let file = folder.path().join("token");
    // Tools end the file with a line end.
    std::fs::write(&file, "t1\n").unwrap();
    let cluster = json!({"server": receiver.url("")});
    // The file has precedence, and its path is relative to the kubeconfig.
    let user = json!({"tokenFile": "token", "token": "old"});
    let kubernetes = Kubernetes::connect(&kubeconfig(&folder, &cluster, &user))
        .await
        .unwrap();
    kubernetes.check().await.unwrap();
    std::fs::write(&file, "t2\n").unwrap();
    kubernetes.check().await.unwrap();
    kubernetes.check().await.unwrap();
    assert_eq!(
        tokens(&receiver),
        ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]
    );
}

#[tokio::test]
async fn a_token_that_stays_refused_is_an_error_and_not_a_loop() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(vec![unauthorized(); 9]).await;
    std::fs::write(folder.path().join("token"), "t1").unwrap();
    let cluster = json!({"server": receiver.url("")});
    for (user, requests) in [
        (json!({"tokenFile": "token"}), 3),
        (json!({"token": "t1"}), 2),
    ] {
        let before = receiver.received().len();
        let kubernetes = Kubernetes::connect(&kubeconfig(&folder, &cluster, &user))
            .await
            .unwrap();
        for _ in 0..2 {
            let error = kubernetes.check().await.unwrap_err().to_string();
            assert!(error.contains("check the credentials"), "{error}");
        }
        assert_eq!(receiver.received().len() - before, requests, "{user}");
    }
}

#[tokio::test]
async fn a_token_file_without_a_token_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = json!({"server": "http://127.0.0.1:1"});
    let config = kubeconfig(&folder, &cluster, &json!({"tokenFile": "token"}));
    for content in [None, Some(""), Some("two words")] {
        if let Some(content) = content {
            std::fs::write(folder.path().join("token"), content).unwrap();
        }
        let error = Kubernetes::connect(&config)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("token file") && !error.contains("two words"),
            "{error}"
        );
    }
}

/// Writes a credential plugin that counts its runs, and prints the token `tN` of run N.
fn plugin(folder: &TempDir, expiry: &str, mode: &str) -> Value {
    let runs = folder.path().join("runs");
    let script = format!(
        r#"echo run >> {0}; n=$(wc -l < {0} | tr -d ' '); echo '{{"status": {{"token": "t'$n'"{expiry}}}}}'"#,
        runs.display()
    );
    json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], "interactiveMode": mode
    }})
}

#[tokio::test]
async fn a_credential_plugin_runs_again_when_its_token_expires_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([version(), unauthorized(), version()]).await;
    let cluster = json!({"server": receiver.url("")});
    let user = plugin(&folder, "", "IfAvailable");
    let kubernetes = Kubernetes::connect(&kubeconfig(&folder, &cluster, &user))
        .await
        .unwrap();
    assert!(
        !folder.path().join("runs").exists(),
        "a start runs no foreign code"
    );
    kubernetes.check().await.unwrap();
    kubernetes.check().await.unwrap();
    assert_eq!(tokens(&receiver), ["Bearer t1", "Bearer t1", "Bearer t2"]);

    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(vec![version(); 10_000]).await;
    let cluster = json!({"server": receiver.url("")});
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let expiry = format!(r#", "expirationTimestamp": "{soon}""#);
    let user = plugin(&folder, &expiry, "Never");
    let kubernetes = Kubernetes::connect(&kubeconfig(&folder, &cluster, &user))
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !tokens(&receiver).contains(&"Bearer t2".to_owned()) {
        kubernetes.check().await.unwrap();
        assert!(Instant::now() < deadline, "{:?}", tokens(&receiver));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_credential_plugin_that_hangs_or_fails_costs_its_own_requests_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([]).await;
    let cluster = json!({"server": receiver.url("")});
    let exec = |script: &str| {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
               "args": ["-c", script], "interactiveMode": "IfAvailable"}})
    };
    for (user, expected) in [
        (exec("sleep 3600"), "did not end within 500ms"),
        (exec("read answer; sleep 3600"), "did not end within 500ms"),
        (
            exec("echo 'session has expired' >&2; exit 255"),
            "session has expired",
        ),
        (exec("echo nothing"), "no ExecCredential"),
    ] {
        let mut config = kubeconfig(&folder, &cluster, &user);
        config.request_timeout = Duration::from_millis(500);
        let began = Instant::now();
        let kubernetes = Kubernetes::connect(&config).await.unwrap();
        // A thread that the plugin blocks would hold up the others.
        let checks = (0..4).map(|_| kubernetes.check());
        for checked in futures::future::join_all(checks).await {
            let error = checked.unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("`sh`"),
                "{error}"
            );
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{user}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_work_is_refused_with_the_remedy_and_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let fine = json!({"server": "https://127.0.0.1:1"});
    let with = |more: Value| {
        let mut cluster = fine.clone();
        cluster
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        cluster
    };
    let user = json!({"token": "hush"});
    for (cluster, user, expected) in [
        (
            with(json!({"proxy-url": "ftp://ada:hush@proxy:1"})),
            user.clone(),
            "proxy-url",
        ),
        (
            with(json!({"proxy-url": "proxy:3128"})),
            user.clone(),
            "http:// or https:// or socks5://",
        ),
        (
            with(json!({"certificate-authority-data": "aHVzaA=="})),
            user.clone(),
            "kubeconfig",
        ),
        (
            with(json!({"certificate-authority": "/no/such/ca.crt"})),
            user.clone(),
            "/no/such/ca.crt",
        ),
        (json!({}), user.clone(), "kubeconfig"),
        (
            fine.clone(),
            plugin(&folder, "", "Always"),
            "needs a person",
        ),
        (
            fine.clone(),
            json!({"exec": {"apiVersion": "v1"}}),
            "names no command",
        ),
        (
            fine.clone(),
            json!({"auth-provider": {"name": "gcp", "config": {"access-token": "hush"}}}),
            "credential plugin",
        ),
    ] {
        let error = refused(&kubeconfig(&folder, &cluster, &user)).await;
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let mut config = kubeconfig(&folder, &fine, &user);
    config.context = Some("production".into());
    let error = refused(&config).await;
    assert!(error.contains("production"), "{error}");
}

/// Starts a proxy that tunnels (`CONNECT`). Returns its address and the heads of its requests.
async fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let head = head(&mut client).await;
                let to = head.split(' ').nth(1).unwrap().to_owned();
                seen.lock().push(head);
                let mut server = TcpStream::connect(to).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, heads)
}

/// Reads the head of a request.
async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn requests_go_through_the_proxy_of_the_kubeconfig() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([version()]).await;
    let (address, heads) = proxy().await;
    let cluster =
        json!({"server": receiver.url(""), "proxy-url": format!("http://ada:pw@{address}")});
    let config = kubeconfig(&folder, &cluster, &json!({}));
    Kubernetes::connect(&config)
        .await
        .unwrap()
        .check()
        .await
        .unwrap();
    let seen = heads.lock().clone();
    let [connect] = &seen[..] else { panic!() };
    assert!(
        connect.starts_with(&format!("CONNECT {}", receiver.address)),
        "{connect}"
    );
    assert!(
        connect
            .to_lowercase()
            .contains("proxy-authorization: basic"),
        "{connect}"
    );
    assert_eq!(receiver.received().len(), 1);

    let gone = json!({"server": receiver.url(""), "proxy-url": format!("http://ada:hush@{}", nobody().await)});
    let config = kubeconfig(&folder, &gone, &json!({}));
    let error = Kubernetes::connect(&config).await.unwrap().check().await;
    let error = error.unwrap_err().to_string();
    assert!(!error.contains("hush"), "{error}");
    assert_eq!(receiver.received().len(), 1);
}

/// Starts an API server with TLS whose certificate is for `name`. Returns its URL and the path of
/// its certificate.
async fn tls_server(folder: &TempDir, name: &str) -> (String, PathBuf) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                head(&mut stream).await;
                let length = VERSION.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{VERSION}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (url, path)
}

#[tokio::test]
async fn the_name_in_the_certificate_may_be_another_one_if_the_kubeconfig_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (url, ca) = tls_server(&folder, "api.internal").await;
    let ca = ca.display().to_string();
    let checked = async |cluster: Value| {
        let config = kubeconfig(&folder, &cluster, &json!({}));
        let checked = Kubernetes::connect(&config).await.unwrap().check().await;
        checked.map_err(|error| error.to_string())
    };
    let base = json!({"server": url, "certificate-authority": ca});
    let error = checked(base.clone()).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    let mut named = base.clone();
    named["tls-server-name"] = "api.internal".into();
    assert_eq!(checked(named).await, Ok(()));
    let mut wrong = base.clone();
    wrong["tls-server-name"] = "other.internal".into();
    assert!(checked(wrong).await.unwrap_err().contains("certificate"));
    let insecure = json!({"server": url, "insecure-skip-tls-verify": true});
    assert_eq!(checked(insecure).await, Ok(()));
    assert!(Path::new(&ca).exists());
}
