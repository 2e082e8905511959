use serde_json::json;

use super::*;
use anomalyzer_domain::{DeclaredEffect, HttpRequest, MergePatch, Target};

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
        effect: None,
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
            effect: None,
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
        effect: None,
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
fn a_request_has_the_effects_of_all_grants_that_cover_it_or_an_unknown_one() {
    use DeclaredEffect::{None as Nothing, Replicas, Template};
    let request = Operation::Http(HttpRequest {
        method: "POST".into(),
        url: "https://hooks.example.com/scale".into(),
        headers: vec![],
        body: None,
    });
    let web = Target::new("shop", "Deployment", "web");
    let grant = |(scope, namespace, effect): (&str, &str, Option<DeclaredEffect>)| Allowance {
        operation: "http".into(),
        scope: scope.into(),
        namespaces: vec![namespace.into()],
        effect,
    };
    type Given<'a> = &'a [(&'a str, &'a str, Option<DeclaredEffect>)];
    /// Replicas after the operation, and true if it replaces pods.
    type Expected = Option<(Option<u32>, bool)>;
    let cases: [(Given<'_>, Expected); 9] = [
        (&[], None),
        (&[("*", "*", None)], None),
        (&[("*", "*", Some(Nothing))], Some((None, false))),
        (&[("*", "shop", Some(Template))], Some((None, true))),
        (&[("*", "pay", Some(Template))], None),
        (&[("other:443", "*", Some(Template))], None),
        (
            &[
                ("*", "*", Some(Nothing)),
                ("hooks.example.com:443", "*", Some(Replicas)),
            ],
            Some((Some(0), false)),
        ),
        (
            &[
                ("*", "*", Some(Template)),
                ("hooks.example.com:*", "*", Some(Replicas)),
            ],
            Some((Some(0), true)),
        ),
        (
            &[
                ("*", "*", Some(Nothing)),
                ("hooks.example.com:443", "*", None),
            ],
            None,
        ),
    ];
    for (given, expected) in cases {
        let grants: Vec<Allowance> = given.iter().copied().map(grant).collect();
        let found = declared_effect(&grants, &request, Some(&web));
        let found = found.map(|effect| (effect.replicas, effect.interrupts));
        assert_eq!(found, expected, "{given:?}");
    }
    let all = [grant(("*", "*", Some(Nothing)))];
    let patch = patch(json!({"spec": {"replicas": 0}}));
    assert_eq!(declared_effect(&all, &patch, Some(&web)), None);
}

#[test]
fn a_scope_ends_at_a_path_segment() {
    assert!(!covers("Deployment/spec", "Deployment/specification"));
    assert!(covers("Deployment", "Deployment/spec"));
}
