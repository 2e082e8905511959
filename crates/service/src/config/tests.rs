//! One faulty configuration for each rule of each part, with the position and the message.

use std::path::Path;

use super::{File, load};

const GROUP: &str = "[local.groups.web]\ncommand = [\"web\"]\nfirst_port = 8000\n";
const SCRAPE: &str =
    "[[collect.scrape]]\njob = \"web\"\ntargets = { urls = [\"http://127.0.0.1:1\"] }\n";
const SIGNAL: &str = "[[signal]]\nname = \"s\"\ntarget = { kind = \"K\", name = \"n\" }\n";
const QUERY: &str = "source = { query = \"up\" }\n";
const LIMIT: &str = "[[rate_limit]]\ntarget = { kind = \"Process\", name = \"web\" }\n";
const RULE: &str =
    "[[guard.policy]]\nname = \"a\"\nwhen = \"true\"\nverdict = \"hold\"\nreason = \"r\"\n";
const WINDOW: &str = "[[guard.maintenance]]\nschedule = \"0 2 * * SUN\"\nduration = \"1h\"\n";
const OLLAMA: &str = "[ollama]\nurl = \"http://127.0.0.1:11434\"\nmodel = \"m\"\n";

/// Loads `text` as the file `a.toml`, without variables of the environment.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let file = File::of_text(Path::new("a.toml"), text);
    let error = file.load(&|_| None).map(drop).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

/// Replaces one line of a good configuration.
#[track_caller]
fn with(good: &str, line: &str, faulty: &str) -> String {
    assert!(good.contains(line), "{good} has no {line}");
    good.replace(line, faulty)
}

#[test]
fn a_fault_of_signals_and_sources_is_located() {
    let query = format!("{SIGNAL}{QUERY}");
    let gauge = format!("{SIGNAL}source = {{ gauge = {{ of = \"x\" }} }}\n");
    let rate = |window: &str, rest: &str| {
        format!(
            "{SCRAPE}{SIGNAL}source = {{ rate = {{ of = \"x\", window = \"{window}\" }} }}\n{rest}"
        )
    };
    let prometheus = "[collect.prometheus]\nurl = \"http://127.0.0.1:9090\"\n";
    for (text, expected) in [
        (format!("{query}{query}"), ""),
        (format!("{query}detectors = []\n"), ""),
        (query.clone(), ""),
        (gauge, ""),
        (rate("20s", ""), ""),
        (rate("1m", "interval = \"1s\"\n"), ""),
        ("[collect]\ninterval = \"0s\"\n".to_owned(), ""),
        (format!("{prometheus}timeout = \"0s\"\n"), ""),
        (format!("{prometheus}lookback = \"0s\"\n"), ""),
        (format!("{SCRAPE}timeout = \"0s\"\n"), ""),
        (format!("{SCRAPE}{SCRAPE}"), ""),
        (
            "[[collect.scrape]]\njob = \"web\"\ntargets = { group = \"web\" }\n".to_owned(),
            "",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_actions_and_models_is_located() {
    let grant = "[[grant]]\nplugin = \"p\"\noperation = \"scale\"\n";
    let trial = "[trial]\nfrom = \"history\"\nmost_incidents = 1.0\n";
    for (text, expected) in [
        (LIMIT.to_owned(), ""),
        (format!("{LIMIT}patch = {{ patch = {{}} }}\n"), ""),
        (format!("{LIMIT}http = {{}}\n"), ""),
        (format!("{grant}{}", with(grant, "scale", "sclae")), ""),
        (
            with(OLLAMA, "http://127.0.0.1:11434", "127.0.0.1:11434"),
            "",
        ),
        (with(OLLAMA, "\"m\"", "\" \""), ""),
        (with(trial, "most_incidents = 1.0\n", ""), ""),
        (with(trial, "history", "/nowhere/a.csv"), ""),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_the_guard_is_located() {
    for (text, expected) in [
        (format!("{WINDOW}{}", with(WINDOW, "1h", "0s")), ""),
        (with(WINDOW, "SUN", "SUNDAY"), ""),
        (format!("{RULE}{RULE}"), ""),
        (with(RULE, "\"a\"", "\"\""), ""),
        (with(RULE, "\"r\"", "\" \""), ""),
        (format!("{RULE}timezone = \"Europe/Nowhere\"\n"), ""),
        ("[guard]\nmost_share = 1.5\n".to_owned(), ""),
        (
            "[guard]\nmax_replicas = 1\nmin_replicas = 2\n".to_owned(),
            "",
        ),
        ("[guard]\nmax_replicas = 0\n".to_owned(), ""),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_process_groups_is_located() {
    let other = with(&with(GROUP, ".web]", ".worker]"), "8000", "8009");
    for (text, expected) in [
        (with(GROUP, ".web]", ".Web]"), ""),
        (with(GROUP, "[\"web\"]", "[]"), ""),
        (format!("{GROUP}replicas = 11\n"), ""),
        (with(GROUP, "8000", "65530"), ""),
        (format!("{GROUP}log_lines = 0\n"), ""),
        (format!("{GROUP}restart_delay = \"0s\"\n"), ""),
        (format!("{GROUP}max_restart_delay = \"1ms\"\n"), ""),
        (format!("{GROUP}readiness = {{ path = \"health\" }}\n"), ""),
        (
            format!("{GROUP}[local.groups.web.readiness]\npath = \"/\"\nfailures = 0\n"),
            "",
        ),
        (
            format!("{GROUP}environment = {{ A = \"1\", \"B=\" = \"2\" }}\n"),
            "",
        ),
        (
            format!("{GROUP}[local.groups.web.environment]\nPORT = \"1\"\n"),
            "",
        ),
        (format!("{GROUP}{other}"), ""),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_channels_is_located() {
    let slack = "[notify.channels.team]\ntype = \"slack\"\nurl = \"https://hooks.example.com/x\"\n";
    let log = "[notify.channels.log]\ntype = \"log\"\n";
    for (text, expected) in [
        ("[notify]\nattempts = 0\n".to_owned(), ""),
        ("[notify]\ntimeout = \"0s\"\n".to_owned(), ""),
        (with(log, ".log]", ".default]"), ""),
        (format!("{slack}url_file = \"/x\"\n"), ""),
        (
            format!(
                "{log}{}",
                with(slack, "url = \"https://hooks.example.com/x\"\n", "")
            ),
            "",
        ),
        (with(slack, "https:", "ftp:"), ""),
        (format!("{log}url = \"http://127.0.0.1/\"\n"), ""),
        (
            format!("{slack}generator_url = \"http://127.0.0.1/\"\n"),
            "",
        ),
        (
            format!(
                "{}labels = {{ team = \"a\", 1a = \"b\" }}\n",
                with(slack, "slack", "alertmanager")
            ),
            "",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_requests_is_located() {
    let credential =
        "[[http.credentials]]\nurl = \"https://a.example.com/\"\nvalue_file = \"/x\"\n";
    for (text, expected) in [
        ("[http]\ntimeout = \"0s\"\n".to_owned(), ""),
        (
            "[http]\nallow = [\n  \"a:1\",\n  \"b\",\n]\n".to_owned(),
            "",
        ),
        (
            "[http]\nallow_addresses = [\"10.0.0.0/8\", \"10.0.0.0/33\"]\n".to_owned(),
            "",
        ),
        (
            format!("{credential}{}", with(credential, "https:", "ftp:")),
            "",
        ),
        (format!("{credential}header = \"a b\"\n"), ""),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_the_api_is_located() {
    let token = "[[api.tokens]]\nname = \"a\"\nrole = \"viewer\"\nfile = \"/x\"\n";
    for (text, expected) in [
        ("[api]\nlisten = \"0.0.0.0:9000\"\n".to_owned(), ""),
        ("[api]\nengine_listen = \"[::]:5000\"\n".to_owned(), ""),
        (with(token, "\"a\"", "\"\""), ""),
        (format!("{token}{token}"), ""),
        (format!("{token}sha256 = \"1\"\n"), ""),
        (with(token, "file = \"/x\"", "sha256 = \"1\""), ""),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn without_a_file_the_message_stands_alone() {
    let environment = |name: &str| (name == "OLLAMA_HOST").then(|| "127.0.0.1".to_owned());
    let error = load(None, &environment).map(drop).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("environment variable OLLAMA_HOST: ")
    );
}
