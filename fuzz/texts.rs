//! Entry points for texts that people and other programs write: files of samples, conditions, and
//! names.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anomalyzer_collect::{HttpUrl, Selector, TargetTemplate};
use anomalyzer_domain::{Labels, Target, check_name, duration, truncate};
use anomalyzer_evaluate::csv::{self, CsvOptions, Decimal, parse_time};
use anomalyzer_policy::{Case, Expression, Facts, Policy, PolicyRule, judge};

/// Longest time for one condition. It leaves room for a busy machine.
const MAX_CONDITION_TIME: Duration = Duration::from_secs(10);
const MAX_NAME_BYTES: usize = 256;

/// Reads a file of samples with several options. One of them is the form of the times in the first
/// line.
pub fn csv(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let options = |form: &str, decimal| CsvOptions {
        time_format: form.parse().ok(),
        decimal,
    };
    for (options, text) in [
        (CsvOptions::default(), &*text),
        (options("dmy", Some(Decimal::Comma)), &*text),
        (options(first, Some(Decimal::Point)), rest),
    ] {
        let Ok(table) = csv::parse(text, &options) else {
            continue;
        };
        let table = table.in_time_order();
        // Samples are finite, have ascending times, and come from a row of the file.
        assert!(table.samples.iter().all(|sample| sample.value.is_finite()));
        assert!(table.samples.is_sorted_by(|a, b| a.at < b.at));
        assert_eq!(table.samples.len(), table.row_indices.len());
        assert!(table.row_indices.iter().all(|row| *row < table.rows.len()));
    }
    for field in text.split(['\n', ',', ';', '\t']).take(100) {
        let _ = parse_time(field);
    }
}

/// Facts of an ordinary solution.
static FACTS: LazyLock<Facts> = LazyLock::new(|| {
    let case = serde_json::json!({
        "name": "it", "expect": "allow", "solution": "scale_up",
        "target": {"namespace": "shop", "kind": "Deployment", "name": "web"},
    });
    let case: Case = serde_json::from_value(case).expect("the case is good");
    case.facts().expect("the solution has an operation")
});

/// Parses a condition and evaluates it. Both have a bounded cost.
pub fn cel(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let begun = Instant::now();
    if let Ok(when) = Expression::try_from(text.to_owned()) {
        assert_eq!(String::from(when.clone()), text);
        let rule = PolicyRule {
            name: "it".to_owned(),
            when,
            verdict: anomalyzer_domain::Verdict::Deny,
            reason: "it".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
        };
        let policy = Policy {
            policy: vec![rule],
            ..Policy::default()
        };
        let verdict = judge(&FACTS, &policy);
        assert_eq!(verdict, judge(&FACTS, &policy));
    }
    let took = begun.elapsed();
    assert!(took < MAX_CONDITION_TIME, "{took:?} for {text}");
}

/// Reads names, targets, selectors, templates, durations and addresses. A text that is accepted
/// survives the way through text.
pub fn names(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(
            target.to_string().parse::<Target>().ok(),
            Some(target.clone())
        );
        let _ = target.check();
    }
    if let Ok(selector) = text.parse::<Selector>() {
        let again = selector.to_string().parse::<Selector>();
        assert_eq!(again.expect("what was written can be read"), selector);
        selector.matches(&Labels::new([("path", text)]));
        selector.may_match(&Labels::default());
    }
    if let Ok(template) = TargetTemplate::try_from(Target::new(text, "Deployment", text)) {
        let value = text.get(..8).unwrap_or(text);
        for value in ["web", value] {
            let labels = Labels::new(template.labels().into_iter().map(|label| (label, value)));
            if let Some(target) = template.render(&labels) {
                target.check().expect("a target is made of good names");
            }
        }
    }
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let pattern = anomalyzer_policy::Selector {
        name: Some(pattern.to_owned()),
        ..anomalyzer_policy::Selector::default()
    };
    pattern.matches(&Target::new("shop", "Deployment", name));
    if let Ok(length) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(length)), Ok(length));
    }
    if let Ok(url) = HttpUrl::try_from(text.to_owned()) {
        let again = HttpUrl::try_from(url.as_str().to_owned());
        assert_eq!(again.as_ref(), Ok(&url));
    }
    if check_name(text, MAX_NAME_BYTES).is_ok() {
        assert!(text.len() <= MAX_NAME_BYTES && !text.contains(char::is_control));
    }
    assert!(truncate(text, MAX_NAME_BYTES).len() <= MAX_NAME_BYTES + "… [cut]".len());
}
