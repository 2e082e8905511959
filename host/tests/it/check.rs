//! Tests of `anomalyzer check` on whole files.

use anomalyzer::cli::Output;
use anomalyzer::cli::check::{CheckArgs, run};

/// Checks a file that contains `text`. Returns true if the file is good, and the output.
async fn check(text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, text).unwrap();
    let mut out = Vec::new();
    let good = run(
        &CheckArgs {
            file,
            output: Output::Text,
            compiler: None,
        },
        &|_| None,
        &mut out,
    )
    .await
    .unwrap();
    let said = String::from_utf8(out).unwrap();
    (
        good,
        said.replace(&format!("{}/", folder.path().display()), ""),
    )
}

fn with_plugins(text: &str) -> String {
    format!(
        "plugins.folder = '{}'\n{text}",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins")
    )
}

fn signal(detectors: &str) -> String {
    format!(
        "[local.groups.web]\ncommand = ['web']\nfirst_port = 8000\n[[collect.scrape]]\njob = 'web'\ntargets = {{ group = 'web' }}\n\
         [[signal]]\nname = 's'\nsource = {{ gauge = {{ of = 'x' }} }}\ntarget = {{ kind = 'Process', name = 'web' }}\n\
         detectors = [\n{detectors}\n]\n"
    )
}

#[tokio::test]
async fn detectors_that_are_not_there_or_refuse_their_settings_are_found_in_their_line() {
    for (detector, says) in [
        ("{ name = 'zscroe' }", "a.toml:13:1: detector `zscroe`: "),
        (
            "{ name = 'zscore' },\n{ name = 'zscore', settings = { spike = -1.0 } }",
            "a.toml:14:1: detector `zscore`: ",
        ),
        ("{ name = 'zscore', settings = { spiek = 2.0 } }", "spiek"),
    ] {
        let (good, said) = check(&with_plugins(&signal(detector))).await;
        assert!(!good && said.contains(says), "{said}");
    }
    let (good, said) = check(&with_plugins(&signal("{ name = 'zscore' }"))).await;
    assert!(good, "{said}");
    assert_eq!(said, "a.toml is good: 1 signals\n");
}

#[tokio::test]
async fn a_signal_with_a_long_range_is_noted_with_the_time_of_its_verdict() {
    let note = async |range: &str, verify: &str| {
        let text = format!(
            "[collect.prometheus]\nurl = 'http://127.0.0.1:9'\n[[signal]]\nname = 'errors'\n\
             source = {{ query = 'rate(x[{range}])' }}\ntarget = {{ kind = 'Process', name = 'web' }}\n{verify}"
        );
        let (good, said) = check(&with_plugins(&text)).await;
        assert!(good, "{said}");
        said.split_once('\n').unwrap().1.to_owned()
    };
    let notes = note("5m", "").await;
    let told = "judged 6m after the operation instead of 3m, because a sample of errors depends on the 5m before it";
    assert!(notes.contains(told), "{notes}");
    let notes = note("1h", "").await;
    assert!(notes.contains("is always `unknown`"), "{notes}");
    assert!(
        notes.contains("`[verify] observe_at_most` is 30m"),
        "{notes}"
    );
    for (range, verify) in [
        ("1m", ""),
        ("5m", "[verify]\nobserve = '10m'\n"),
        ("5m", "[verify]\nobserve = '0s'\n"),
    ] {
        assert_eq!(note(range, verify).await, "", "{range} {verify}");
    }
}

#[tokio::test]
async fn without_plugins_it_says_what_was_not_checked() {
    let (good, said) = check(&format!(
        "plugins.folder = '/nowhere'\n{}",
        signal("{ name = 'zscroe' }")
    ))
    .await;
    assert!(
        good && said.contains(
            "note: detectors and grants were not checked: there is no plugin folder /nowhere"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_had_and_a_kubeconfig_that_is_not_there_are_found() {
    let token = "[[api.tokens]]\nname = 'a'\nrole = 'viewer'\nfile = '/nowhere/token'\n";
    let (good, said) = check(&with_plugins(token)).await;
    assert!(
        !good && said.contains("a.toml:2:1: api.tokens `a`: /nowhere/token"),
        "{said}"
    );
    let (good, said) = check(&with_plugins(
        "[kubernetes]\nkubeconfig = '/nowhere/config'\n",
    ))
    .await;
    assert!(
        !good && said.contains("a.toml:3:1: cannot use the kubeconfig /nowhere/config"),
        "{said}"
    );
}

#[tokio::test]
async fn a_grant_of_an_action_that_is_not_there_yet_is_noted() {
    let (good, said) = check(&with_plugins(
        "[[grant]]\nplugin = 'mine'\noperation = 'scale'\n",
    ))
    .await;
    assert!(
        good && said.contains("note: `scale` of `mine` is granted and there is no such action"),
        "{said}"
    );
}
