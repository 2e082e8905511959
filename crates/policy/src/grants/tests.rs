use serde_json::json;

use super::*;
use anomalyzer_domain::{MergePatch, Target};

fn patch(value: serde_json::Value) -> Operation {
    Operation::Patch(MergePatch {
        target: Target::new("shop", "Deployment", "web"),
        patch: value,
    })
}

fn grant(scope: &str) -> Vec<Allowance> {
    vec![Allowance {
        operation: "patch".into(),
        scope: scope.into(),
        namespaces: vec!["*".to_owned()],
    }]
}

#[test]
fn the_effect_is_what_is_both_needed_and_granted() {
    let needs = [("patch".to_owned(), "Deployment/spec/template".to_owned())];
    let inside = patch(json!({"spec": {"template": {"a": 1}}}));
    let outside = patch(json!({"spec": {"template": {"a": 1}, "replicas": 0}}));
    let permit = |grants: &[Allowance], operation| permit("p", &needs, grants, operation, None);
    assert!(permit(&grant("*"), &inside).is_ok());
    assert!(
        permit(&grant("*"), &outside)
            .unwrap_err()
            .contains("does not declare")
    );
    assert!(
        permit(&grant("Deployment/metadata"), &inside)
            .unwrap_err()
            .contains("is not granted")
    );
    assert!(permit(&[], &inside).is_err());
}

#[test]
fn a_grant_for_a_namespace_is_none_for_another() {
    let needs = [
        ("patch".to_owned(), "Deployment".to_owned()),
        ("notify".to_owned(), "*".to_owned()),
    ];
    let inside = patch(json!({"spec": {"a": 1}}));
    let only = |namespace: &str| {
        let namespaces = vec![namespace.to_owned()];
        ["patch", "notify"].map(|operation| Allowance {
            operation: operation.into(),
            scope: "*".to_owned(),
            namespaces: namespaces.clone(),
        })
    };
    assert!(permit("p", &needs, &only("shop"), &inside, None).is_ok());
    let why = permit("p", &needs, &only("test"), &inside, None).unwrap_err();
    assert!(
        why.contains("in the namespace `shop`, but in test"),
        "{why}"
    );
    // A notice has no target: that of the incident counts.
    let notice = anomalyzer_domain::Notice {
        channel: "ops".into(),
        title: String::new(),
        text: String::new(),
    };
    let about = Target::new("shop", "Deployment", "web");
    assert!(
        permit(
            "p",
            &needs,
            &only("shop"),
            &Operation::Notify(notice.clone()),
            Some(&about)
        )
        .is_ok()
    );
    assert!(
        permit(
            "p",
            &needs,
            &only("test"),
            &Operation::Notify(notice),
            Some(&about)
        )
        .is_err()
    );
}

#[test]
fn what_is_set_at_run_time_counts_instead_of_the_configuration() {
    let configured = [Grant {
        plugin: "p".into(),
        operation: "scale".into(),
        scope: "*".to_owned(),
        namespaces: vec!["*".to_owned()],
    }];
    assert_eq!(in_force("p", None, &configured)[0].operation, "scale");
    assert_eq!(in_force("other", None, &configured), []);
    assert_eq!(in_force("p", Some(vec![]), &configured), []);
    assert_eq!(in_force("p", Some(grant("*")), &configured), grant("*"));
}

#[test]
fn a_request_is_granted_by_host_and_port_and_if_one_is_given_by_scheme() {
    let asked = "https://hooks.example.com:443";
    for scope in [
        "*",
        "hooks.example.com:443",
        "hooks.example.com:*",
        asked,
        "https://hooks.example.com:*",
    ] {
        assert!(covers_place(scope, asked), "{scope}");
    }
    for scope in [
        "",
        "https:",
        "hooks.example.com",
        "example.com:443",
        "http://hooks.example.com:443",
        "a:443",
        "*:443",
    ] {
        assert!(!covers_place(scope, asked), "{scope}");
    }
}

#[test]
fn a_scope_ends_at_a_path_segment() {
    assert!(!covers("Deployment/spec", "Deployment/specification"));
    assert!(covers("Deployment", "Deployment/spec"));
}
