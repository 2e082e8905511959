//! Grants: an action may perform the operations that it declares to need and that it is granted.
//! The default is none.

use super::Effect;
use anomalyzer_domain::{Allowance, Grant, Operation, Target};

/// Returns the grants of an action: those set at run time, or else those of the configuration.
pub fn in_force(plugin: &str, set: Option<Vec<Allowance>>, configured: &[Grant]) -> Vec<Allowance> {
    set.unwrap_or_else(|| {
        let own = configured.iter().filter(|grant| grant.plugin == plugin);
        own.map(
            |Grant {
                 operation,
                 scope,
                 namespaces,
                 effect,
                 ..
             }| Allowance {
                operation: operation.clone(),
                scope: scope.clone(),
                namespaces: namespaces.clone(),
                effect: *effect,
            },
        )
        .collect()
    })
}

/// Returns the grants of the eight shipped actions. They apply unless the configuration has a
/// `[[grant]]`.
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

/// Checks that both the needs and the grants of a plugin cover an operation, in a decision about
/// `about`. The error says which of them does not.
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
    let namespace = namespace_of(operation, about);
    if grants
        .iter()
        .filter(granted)
        .any(|grant| holds_in(grant, namespace))
    {
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

/// Returns the effect of a request that its grants declare, in a decision about `about`. If several
/// grants cover the request, it has the effects of all of them. Returns None if no grant covers the
/// request, or if one of them declares no effect.
pub fn declared_effect(
    grants: &[Allowance],
    operation: &Operation,
    about: Option<&Target>,
) -> Option<Effect> {
    let Operation::Http(_) = operation else {
        return None;
    };
    let (asked, namespace) = (scopes(operation), namespace_of(operation, about));
    let mut covering = grants
        .iter()
        .filter(|grant| same_operation(&grant.operation, operation.kind()))
        .filter(|grant| {
            asked
                .iter()
                .all(|place| within(operation, &grant.scope, place))
        })
        .filter(|grant| holds_in(grant, namespace))
        .peekable();
    covering.peek()?;
    covering.try_fold(Effect::default(), |effect, grant| {
        Some(effect.and(Effect::declared(grant.effect?)))
    })
}

/// Returns the namespace in which an operation must be granted.
fn namespace_of<'t>(operation: &'t Operation, about: Option<&'t Target>) -> &'t str {
    let target = operation.target().or(about);
    target.map_or("", |target| target.namespace.as_str())
}

fn holds_in(grant: &Allowance, namespace: &str) -> bool {
    let granted = |granted: &String| granted == "*" || granted == namespace;
    grant.namespaces.iter().any(granted)
}

fn same_operation(name: &str, kind: &str) -> bool {
    name.replace('-', "_") == kind
}

/// Returns the scopes that an operation touches: a kind, each path of a patch, or scheme, host and
/// port of a request.
fn scopes(operation: &Operation) -> Vec<String> {
    match operation {
        Operation::Patch(patch) => {
            let mut paths = Vec::new();
            leaves(&patch.patch, patch.target.kind.clone(), &mut paths);
            paths
        }
        Operation::Http(request) => {
            let url = url::Url::parse(&request.url).ok();
            let host = url.as_ref().and_then(url::Url::host_str).unwrap_or("?");
            let port = url
                .as_ref()
                .and_then(url::Url::port_or_known_default)
                .unwrap_or(0);
            let scheme = url.as_ref().map_or("?", url::Url::scheme);
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

/// Returns true if a scope covers `https://hooks.example.com:443`. A scope may omit the scheme, and
/// its port may be `*`.
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
mod tests;
