//! What a plugin may ask for: what it declares that it needs, and what the operator of the system
//! granted. Default: nothing.

use crate::domain::{Allowance, Grant, Operation, Target};

/// What counts for an action: what was set for it at run time, or else what the configuration says.
pub fn in_force(plugin: &str, set: Option<Vec<Allowance>>, configured: &[Grant]) -> Vec<Allowance> {
    set.unwrap_or_else(|| {
        let own = configured.iter().filter(|grant| grant.plugin == plugin);
        own.map(
            |Grant {
                 operation,
                 scope,
                 namespaces,
                 ..
             }| Allowance {
                operation: operation.clone(),
                scope: scope.clone(),
                namespaces: namespaces.clone(),
            },
        )
        .collect()
    })
}

/// What the eight actions that come with the host are granted unless the configuration has a
/// `[[grant]]` of its own.
pub fn shipped() -> Vec<Grant> {
    const SHIPPED: &[(&str, &[&str])] = &[
        ("scale-up", &["scale"]),
        ("scale-down", &["scale"]),
        ("restart-service", &["restart"]),
        ("rate-limit", &["patch", "http"]),
        ("alarm", &["notify"]),
        ("check-logs", &["read_logs"]),
        ("investigate", &["inspect", "read_logs", "query"]),
        ("no-action", &[]),
    ];
    SHIPPED
        .iter()
        .flat_map(|(plugin, operations)| {
            operations
                .iter()
                .map(|operation| Grant::everywhere(plugin, operation))
        })
        .collect()
}

/// Whether a plugin may ask for that, in a decision about `about`: both its needs and the grants
/// must cover it. The error says which does not.
pub fn permit(
    plugin: &str,
    needs: &[(String, String)],
    grants: &[Allowance],
    operation: &Operation,
    about: Option<&Target>,
) -> Result<(), String> {
    let kind = operation.kind();
    let asked = scopes(operation);
    let covered = |name: &str, scope: &str| {
        same_operation(name, kind) && asked.iter().all(|asked| within(operation, scope, asked))
    };
    let asked_text = asked.join(", ");
    if !needs.iter().any(|(name, scope)| covered(name, scope)) {
        return Err(format!(
            "`{plugin}` does not declare that it needs `{kind}` of {asked_text}"
        ));
    }
    let granted = |grant: &&Allowance| covered(&grant.operation, &grant.scope);
    let namespace = operation
        .target()
        .or(about)
        .map_or("", |target| target.namespace.as_str());
    let here = |grant: &Allowance| {
        grant
            .namespaces
            .iter()
            .any(|granted| granted == "*" || granted == namespace)
    };
    if grants.iter().filter(granted).any(here) {
        return Ok(());
    }
    let only: Vec<&str> = grants
        .iter()
        .filter(granted)
        .flat_map(|grant| &grant.namespaces)
        .map(String::as_str)
        .collect();
    let where_it_may = if only.is_empty() {
        String::new()
    } else {
        format!(
            " in the namespace `{namespace}`, but in {}",
            only.join(", ")
        )
    };
    Err(format!(
        "`{plugin}` is not granted `{kind}` of {asked_text}{where_it_may}: grant it with `anomalyzer plugins grant` or a \
         [[grant]] in the configuration if it should be"
    ))
}

fn same_operation(name: &str, kind: &str) -> bool {
    name.replace('-', "_") == kind
}

/// What the operation touches: `Kind`, or for a patch every path in it, or scheme, host and port.
fn scopes(operation: &Operation) -> Vec<String> {
    match operation {
        Operation::Patch(patch) => {
            let mut paths = Vec::new();
            leaves(&patch.patch, patch.target.kind.clone(), &mut paths);
            paths
        }
        Operation::Http(request) => {
            let url = reqwest::Url::parse(&request.url).ok();
            let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("?");
            let port = url
                .as_ref()
                .and_then(reqwest::Url::port_or_known_default)
                .unwrap_or(0);
            let scheme = url.as_ref().map_or("?", reqwest::Url::scheme);
            vec![format!("{scheme}://{host}:{port}")]
        }
        Operation::Notify(notice) => vec![notice.channel.clone()],
        other => vec![
            other
                .target()
                .map_or_else(|| "*".to_owned(), |target| target.kind.clone()),
        ],
    }
}

fn leaves(value: &serde_json::Value, path: String, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(
                    value,
                    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")),
                    into,
                );
            }
        }
        _ => into.push(path),
    }
}

fn within(operation: &Operation, scope: &str, asked: &str) -> bool {
    match operation {
        Operation::Http(_) => covers_place(scope, asked),
        _ => covers(scope, asked),
    }
}

/// `https://hooks.example.com:443`, or without the scheme for either; the port may be `*`.
fn covers_place(scope: &str, asked: &str) -> bool {
    let Some((scheme, place)) = asked.split_once("://") else {
        return false;
    };
    let wanted = match scope.split_once("://") {
        Some((wanted, rest)) if wanted == scheme => rest,
        Some(_) => return false,
        None => scope,
    };
    let any_port = wanted
        .strip_suffix(":*")
        .is_some_and(|host| place.rsplit_once(':').is_some_and(|(to, _)| to == host));
    wanted == "*" || wanted == place || any_port
}

fn covers(scope: &str, asked: &str) -> bool {
    scope == "*"
        || scope == asked
        || asked
            .strip_prefix(scope)
            .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{MergePatch, Target};

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
            namespaces: anywhere(),
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
                scope: anything(),
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
        let notice = crate::domain::Notice {
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
            scope: anything(),
            namespaces: anywhere(),
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
}
