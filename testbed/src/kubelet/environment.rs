//! Environment and command line of a container.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use super::NODE;

/// Program, arguments and environment of a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub program: String,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

/// Puts together the launch of `container` of `pod`. The image's `entry_point` is replaced by
/// `command` and followed by `args`.
///
/// # Errors
/// Returns an error that names a feature of the container that this kubelet lacks.
pub(super) fn launch(
    pod: &Pod,
    container: &Container,
    entry_point: &Path,
    address: Ipv4Addr,
) -> Result<Launch, String> {
    let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
    if spec
        .init_containers
        .as_ref()
        .is_some_and(|containers| !containers.is_empty())
    {
        return Err("init containers are not supported by the testbed".to_owned());
    }
    if container
        .env_from
        .as_ref()
        .is_some_and(|sources| !sources.is_empty())
    {
        return Err("envFrom is not supported by the testbed".to_owned());
    }
    // Every pod has the volume with its service account's token. No program here reads it.
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    if let Some(mount) = mounts.iter().find(|mount| {
        !mount
            .mount_path
            .starts_with("/var/run/secrets/kubernetes.io/")
    }) {
        return Err(format!(
            "volumes are not supported by the testbed ({} at {})",
            mount.name, mount.mount_path
        ));
    }
    let mut environment = BTreeMap::from([("POD_IP".to_owned(), address.to_string())]);
    for variable in container.env.as_deref().unwrap_or_default() {
        let value = value(pod, variable, address, &environment)?;
        environment.insert(variable.name.clone(), value);
    }
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words
            .iter()
            .flatten()
            .map(|word| expand(word, &environment))
            .collect()
    };
    let mut command = expanded(&container.command);
    if command.is_empty() {
        command.push(entry_point.display().to_string());
    }
    let program = command.remove(0);
    let arguments = command
        .into_iter()
        .chain(expanded(&container.args))
        .collect();
    Ok(Launch {
        program,
        arguments,
        environment,
    })
}

fn value(
    pod: &Pod,
    variable: &EnvVar,
    address: Ipv4Addr,
    so_far: &BTreeMap<String, String>,
) -> Result<String, String> {
    let Some(source) = &variable.value_from else {
        return Ok(expand(
            variable.value.as_deref().unwrap_or_default(),
            so_far,
        ));
    };
    let Some(field) = &source.field_ref else {
        return Err(format!(
            "the variable {}: only fieldRef is supported by the testbed",
            variable.name
        ));
    };
    field_of(pod, &field.field_path, address).ok_or_else(|| {
        format!(
            "the variable {}: the field {} is not supported by the testbed",
            variable.name, field.field_path
        )
    })
}

fn field_of(pod: &Pod, path: &str, address: Ipv4Addr) -> Option<String> {
    let metadata = &pod.metadata;
    let keyed = |map: &Option<BTreeMap<String, String>>, rest: &str| {
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        Some(
            map.as_ref()
                .and_then(|map| map.get(key))
                .cloned()
                .unwrap_or_default(),
        )
    };
    match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "status.podIP" => Some(address.to_string()),
        "spec.nodeName" => Some(NODE.to_owned()),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        _ => match path.strip_prefix("metadata.labels") {
            Some(rest) => keyed(&metadata.labels, rest),
            None => keyed(
                &metadata.annotations,
                path.strip_prefix("metadata.annotations")?,
            ),
        },
    }
}

/// Expands variables as Kubernetes does: `$(NAME)` becomes the variable's value if the variable
/// exists, and `$$(` becomes a literal `$(`.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = rest
            .strip_prefix("$(")
            .and_then(|inner| inner.split_once(')'));
        match reference.and_then(|(name, after)| variables.get(name).map(|value| (value, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => {
                expanded.push('$');
                rest = &rest[1..];
            }
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn launched(container: &Value) -> Result<Launch, String> {
        let pod = json!({
            "metadata": { "name": "app-1", "namespace": "shop", "labels": { "app": "app" } },
            "spec": { "containers": [container] },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        launch(
            &pod,
            container,
            Path::new("/bin/app"),
            Ipv4Addr::new(127, 0, 1, 7),
        )
    }

    #[test]
    fn args_follow_the_entry_point_and_command_replaces_it() {
        let launch = launched(&json!({ "name": "app", "args": ["serve"] })).unwrap();
        assert_eq!(
            (launch.program.as_str(), launch.arguments),
            ("/bin/app", vec!["serve".to_owned()])
        );
        let launch =
            launched(&json!({ "name": "app", "command": ["sh", "-c"], "args": ["true"] })).unwrap();
        assert_eq!(
            (launch.program.as_str(), launch.arguments),
            ("sh", vec!["-c".to_owned(), "true".to_owned()])
        );
    }

    #[test]
    fn variables_come_from_values_and_from_fields_of_the_pod() {
        let env = json!([
            { "name": "HOST", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
            { "name": "URL", "value": "http://$(HOST):80/$(NOBODY)" },
        ]);
        let launch =
            launched(&json!({ "name": "app", "env": env, "args": ["$(URL)", "$$(URL)", "$URL"] }))
                .unwrap();
        let expected = [
            ("APP", "app"),
            ("HOST", "127.0.1.7"),
            ("NAME", "app-1"),
            ("POD_IP", "127.0.1.7"),
            ("URL", "http://127.0.1.7:80/$(NOBODY)"),
        ];
        assert_eq!(
            launch.environment,
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
        assert_eq!(
            launch.arguments,
            ["http://127.0.1.7:80/$(NOBODY)", "$(URL)", "$URL"]
        );
    }

    #[test]
    fn what_the_testbed_cannot_do_is_refused_by_name() {
        let secret = json!([{ "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }]);
        let cases = [
            (json!({ "name": "app", "env": secret }), "KEY"),
            (
                json!({ "name": "app", "envFrom": [{ "configMapRef": { "name": "c" } }] }),
                "envFrom",
            ),
            (
                json!({ "name": "app", "volumeMounts": [{ "name": "v", "mountPath": "/data" }] }),
                "/data",
            ),
        ];
        for (container, named) in cases {
            let refusal = launched(&container).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
