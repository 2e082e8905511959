//! One faulty configuration for each rule of each part, with the position and the message.

use std::path::Path;

use super::File;

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

/// Loads `text` as the file `a.toml`, without variables of the environment. An ellipsis at the end
/// of `expected` stands for the words of a dependency.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let file = File::of_text(Path::new("a.toml"), text);
    let error = file.load(&|_| None).map(drop).unwrap_err().to_string();
    match expected.strip_suffix('…') {
        Some(begins) => assert!(error.starts_with(begins), "{error} of {text}"),
        None => assert_eq!(error, expected, "{text}"),
    }
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
        (
            format!("{query}{query}"),
            "a.toml:5:1: two signals are called `s`: give each a name of its own",
        ),
        (
            format!("{query}detectors = []\n"),
            "a.toml:1:1: signal `s` has no detector: name one, or leave `detectors` out for `novelty`",
        ),
        (
            query,
            "a.toml:1:1: the signal `s` is a query and no Prometheus is configured: add [collect.prometheus] with its `url`",
        ),
        (
            gauge,
            "a.toml:1:1: the signal `s` is derived from scrapes and nothing is scraped: add [[collect.scrape]]",
        ),
        (
            rate("20s", ""),
            "a.toml:4:1: the signal `s` looks back 20s at samples that come every 15s: make `window` at least twice that",
        ),
        (
            rate("1m", "interval = \"1s\"\n"),
            "a.toml:4:1: the signal `s` has a shorter interval than the scrapes that it is derived from: raise it or drop it",
        ),
        (
            "[collect]\ninterval = \"0s\"\n".to_owned(),
            "a.toml:2:1: `collect.interval` must not be 0",
        ),
        (
            format!("{prometheus}timeout = \"0s\"\n"),
            "a.toml:3:1: `collect.prometheus.timeout` must not be 0",
        ),
        (
            format!("{prometheus}lookback = \"0s\"\n"),
            "a.toml:3:1: `collect.prometheus.lookback` must not be 0",
        ),
        (
            format!("{SCRAPE}timeout = \"0s\"\n"),
            "a.toml:4:1: `collect.scrape.timeout` must not be 0",
        ),
        (
            format!("{SCRAPE}{SCRAPE}"),
            "a.toml:4:1: two entries of `scrape` have the job `web`: rename one",
        ),
        (
            "[[collect.scrape]]\njob = \"web\"\ntargets = { group = \"web\" }\n".to_owned(),
            "a.toml:3:1: the scrape `web` wants the process group `web`, which the local operator does not have: check the name, or add [local.groups.web]",
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
        (
            LIMIT.to_owned(),
            "a.toml:1:1: rate limit of default//Process/web: give either `patch` or `http`",
        ),
        (
            format!("{LIMIT}patch = {{ patch = {{}} }}\n"),
            "a.toml:1:1: rate limit of default//Process/web: what its `patch` is for cannot be read (invalid type: null, expected struct Target): write `patch = { target = { kind, name }, patch = { … } }`",
        ),
        (
            format!("{LIMIT}http = {{}}\n"),
            "a.toml:1:1: rate limit of default//Process/web: there is no group of that name in [local.groups]",
        ),
        (
            format!("{grant}{}", with(grant, "scale", "sclae")),
            "a.toml:6:1: there is no operation `sclae` to grant to `p`: use one of scale, restart, roll_back, patch, http, notify, inspect, read_logs, query",
        ),
        (
            with(OLLAMA, "http://127.0.0.1:11434", "127.0.0.1:11434"),
            "a.toml:2:1: `127.0.0.1:11434` is not an address: write for example http://127.0.0.1:11434",
        ),
        (
            with(OLLAMA, "\"m\"", "\" \""),
            "a.toml:3:1: no model is named: write for example llama3.1:8b",
        ),
        (
            with(trial, "most_incidents = 1.0\n", ""),
            "a.toml:1:2: everything would pass: say `most_incidents` or `most_operations` (a day)",
        ),
        (
            with(trial, "history", "/nowhere/a.csv"),
            "a.toml:2:1: there is no /nowhere/a.csv: name a CSV file, a folder of them, `prometheus`, or `history`",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_the_guard_is_located() {
    for (text, expected) in [
        (
            format!("{WINDOW}{}", with(WINDOW, "1h", "0s")),
            "a.toml:6:1: duration must be more than nothing, and at most 31 days",
        ),
        (
            with(WINDOW, "0 2 * * SUN", "0 25 * * *"),
            "a.toml:2:1: `0 25 * * *` in `UTC` is no schedule: …",
        ),
        (
            format!("{RULE}{RULE}"),
            "a.toml:6:1: two rules are called `a`: give each a name of its own",
        ),
        (
            with(RULE, "\"a\"", "\"\""),
            "a.toml:2:1: a rule needs a name and a reason: they stand in each decision that it decides",
        ),
        (
            with(RULE, "\"r\"", "\" \""),
            "a.toml:5:1: a rule needs a name and a reason: they stand in each decision that it decides",
        ),
        (
            format!("{RULE}timezone = \"Europe/Nowhere\"\n"),
            "a.toml:6:1: there is no time zone `Europe/Nowhere`: write for example \"Europe/Berlin\"",
        ),
        (
            "[guard]\nmost_share = 1.5\n".to_owned(),
            "a.toml:2:1: most_share is a share: write a number from 0 to 1",
        ),
        (
            "[guard]\nmax_replicas = 1\nmin_replicas = 2\n".to_owned(),
            "a.toml:3:1: min_replicas is larger than max_replicas",
        ),
        (
            "[guard]\nmax_replicas = 0\n".to_owned(),
            "a.toml:1:2: min_replicas is larger than max_replicas",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_process_groups_is_located() {
    let other = with(&with(GROUP, ".web]", ".worker]"), "8000", "8009");
    for (text, expected) in [
        (
            with(GROUP, ".web]", ".Web]"),
            "a.toml:1:15: local.groups.Web: a group's name has lower-case letters, digits and hyphens, at most 63",
        ),
        (
            with(GROUP, "[\"web\"]", "[]"),
            "a.toml:2:1: local.groups.web.command is empty: name a program, for example command = [\"./web\", \"{port}\"]",
        ),
        (
            format!("{GROUP}replicas = 11\n"),
            "a.toml:4:1: local.groups.web.replicas is 11: it must be between min_replicas (1) and max_replicas (10)",
        ),
        (
            with(GROUP, "8000", "65530"),
            "a.toml:3:1: local.groups.web.first_port is 65530: with max_replicas 10 there must be a port from 1 to 65535 for each",
        ),
        (
            format!("{GROUP}log_lines = 0\n"),
            "a.toml:4:1: local.groups.web.log_lines is 0: keep 1 to 100000",
        ),
        (
            format!("{GROUP}restart_delay = \"0s\"\n"),
            "a.toml:4:1: local.groups.web.restart_delay must be above 0 and at most max_restart_delay",
        ),
        (
            format!("{GROUP}max_restart_delay = \"1ms\"\n"),
            "a.toml:1:15: local.groups.web.restart_delay must be above 0 and at most max_restart_delay",
        ),
        (
            format!("{GROUP}readiness = {{ path = \"health\" }}\n"),
            "a.toml:4:15: local.groups.web.readiness.path must start with /, for example /health",
        ),
        (
            format!("{GROUP}[local.groups.web.readiness]\npath = \"/\"\nfailures = 0\n"),
            "a.toml:4:19: local.groups.web.readiness: timeout, interval and failures must be above 0",
        ),
        (
            format!("{GROUP}environment = {{ A = \"1\", \"B=\" = \"2\" }}\n"),
            "a.toml:4:26: local.groups.web.environment: `B=` cannot be the name of a variable",
        ),
        (
            format!("{GROUP}[local.groups.web.environment]\nPORT = \"1\"\n"),
            "a.toml:5:1: local.groups.web.environment: PORT is set by the operator for each replica: change first_port or host in the configuration",
        ),
        (
            format!("{GROUP}{other}"),
            "a.toml:1:15: local.groups.web (ports 8000 to 8009) and local.groups.worker (ports 8009 to 8018) overlap: change a first_port or a max_replicas",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_channels_is_located() {
    let slack = "[notify.channels.team]\ntype = \"slack\"\nurl = \"https://hooks.example.com/x\"\n";
    let log = "[notify.channels.log]\ntype = \"log\"\n";
    for (text, expected) in [
        (
            "[notify]\nattempts = 0\n".to_owned(),
            "a.toml:2:1: notify.attempts is 0: 1 to 10 make sense",
        ),
        (
            "[notify]\ntimeout = \"0s\"\n".to_owned(),
            "a.toml:2:1: notify.timeout must be above 0, for example \"10s\"",
        ),
        (
            with(log, ".log]", ".default]"),
            "a.toml:1:18: notify.channels.default: `default` means all channels marked default = true: choose another name",
        ),
        (
            format!("{slack}url_file = \"/x\"\n"),
            "a.toml:1:18: notify.channels.team has url and url_file: give one of them",
        ),
        (
            format!(
                "{log}{}",
                with(slack, "url = \"https://hooks.example.com/x\"\n", "")
            ),
            "a.toml:3:18: notify.channels.team needs url or url_file",
        ),
        (
            with(slack, "https:", "ftp:"),
            "a.toml:3:1: notify.channels.team.url must begin with http:// or https://",
        ),
        (
            format!("{log}url = \"http://127.0.0.1/\"\n"),
            "a.toml:1:18: notify.channels.log: the log has no url",
        ),
        (
            format!("{slack}generator_url = \"http://127.0.0.1/\"\n"),
            "a.toml:1:18: notify.channels.team: only an alertmanager has labels and generator_url",
        ),
        (
            format!(
                "{}labels = {{ team = \"a\", 1a = \"b\" }}\n",
                with(slack, "slack", "alertmanager")
            ),
            "a.toml:4:24: notify.channels.team.labels: `1a` is no label: write letters, digits and _",
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
        (
            "[http]\ntimeout = \"0s\"\n".to_owned(),
            "a.toml:2:1: http.timeout must be above 0, for example \"10s\"",
        ),
        (
            "[http]\nallow = [\n  \"a:1\",\n  \"b\",\n]\n".to_owned(),
            "a.toml:4:3: http.allow: `b` is not host:port or host:*, as hooks.example.com:443 or https://hooks.example.com:*",
        ),
        (
            "[http]\nallow_addresses = [\"10.0.0.0/8\", \"10.0.0.0/33\"]\n".to_owned(),
            "a.toml:2:34: http.allow_addresses: `10.0.0.0/33` is neither an address nor a network, as 10.1.2.3 or 10.0.0.0/8",
        ),
        (
            format!("{credential}{}", with(credential, "https:", "ftp:")),
            "a.toml:5:1: http.credentials: `ftp://a.example.com` is no URL to begin with",
        ),
        (
            format!("{credential}header = \"a b\"\n"),
            "a.toml:4:1: http.credentials: `a b` is no header",
        ),
    ] {
        refused(&text, expected);
    }
}

#[test]
fn a_fault_of_the_api_is_located() {
    let token = "[[api.tokens]]\nname = \"a\"\nrole = \"viewer\"\nfile = \"/x\"\n";
    for (text, expected) in [
        (
            "[api]\nlisten = \"0.0.0.0:9000\"\n".to_owned(),
            "a.toml:2:1: api.listen = \"0.0.0.0:9000\" is not a loopback address and there is no [[api.tokens]]: everybody who can reach it could act; add a token, or listen on 127.0.0.1",
        ),
        (
            "[api]\nengine_listen = \"[::]:5000\"\n".to_owned(),
            "a.toml:2:1: api.engine_listen = \"[::]:5000\" is not a loopback address and there is no [[api.tokens]]: everybody who can reach it could act; add a token, or listen on 127.0.0.1",
        ),
        (
            with(token, "\"a\"", "\"\""),
            "a.toml:1:1: api.tokens: the name `` is empty or given twice; give each token a name of its own",
        ),
        (
            format!("{token}{token}"),
            "a.toml:5:1: api.tokens: the name `a` is empty or given twice; give each token a name of its own",
        ),
        (
            format!("{token}sha256 = \"1\"\n"),
            "a.toml:1:1: api.tokens `a`: set either sha256 or file",
        ),
        (
            with(token, "file = \"/x\"", "sha256 = \"1\""),
            "a.toml:1:1: api.tokens `a`: sha256 is not 64 hex digits; make it with `printf %s TOKEN | sha256sum`",
        ),
    ] {
        refused(&text, expected);
    }
}
