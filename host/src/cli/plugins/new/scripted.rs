//! Makes a project in JavaScript or Python from the examples of this repository, under another
//! name. The tests of the repository build and run these examples.

use serde_json::{Map, Value, json};

use super::{CONTRACT, Kind, Language, Project};

macro_rules! example {
    ($path:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../plugins/examples/",
            $path
        ))
    };
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/", $path))
    };
}

/// Names of the examples.
const NAMES: [&str; 4] = [
    "javascript-range",
    "javascript-announced-restart",
    "python-range",
    "python-announced-restart",
];
/// Remarks in the summaries of the examples, removed from a project.
const REMARKS: [&str; 2] = [" (an example in JavaScript)", " (an example in Python)"];

pub(super) fn project(name: &str, kind: Kind, language: Language) -> Project {
    let source = match (language, kind) {
        (Language::Python, Kind::Detector) => example!("python/detector/detector.py"),
        (Language::Python, Kind::Action) => example!("python/action/action.py"),
        (_, Kind::Detector) => example!("javascript/detector/detector.js"),
        (_, Kind::Action) => example!("javascript/action/action.js"),
    };
    let mut source = NAMES.iter().fold(source.to_owned(), |text, old| {
        text.replace(&format!("\"{old}\""), &format!("\"{name}\""))
    });
    for remark in REMARKS {
        source = source.replace(remark, "");
    }
    // The settings must give a range: no default fits every series.
    let test = match kind {
        Kind::Detector => format!(
            "anomalyzer plugins test {name}.wasm --settings '{{\"low\": 50, \"high\": 150}}'"
        ),
        Kind::Action => format!("anomalyzer plugins test {name}.wasm"),
    };
    let (mut files, mut commands) = match language {
        Language::Python => python(name, kind),
        _ => javascript(name, kind),
    };
    let file = match language {
        // The source has a folder of its own, because the tool reads every file beside it.
        Language::Python => format!("src/{}.py", kind.name()),
        _ => format!("{}.js", kind.name()),
    };
    files.push((file.clone(), source));
    files.push(("wit/plugin.wit".to_owned(), CONTRACT.to_owned()));
    commands.push(test);
    let steps = commands
        .iter()
        .map(|command| format!("$ {command}\n"))
        .collect::<String>();
    let readme = template!("scripted.md.in");
    let readme = [
        ("{{name}}", name),
        ("{{kind}}", kind.name()),
        ("{{steps}}", &steps),
        ("{{file}}", &file),
    ]
    .iter()
    .fold(readme.to_owned(), |text, (gap, filling)| {
        text.replace(gap, filling)
    });
    files.push(("README.md".to_owned(), readme));
    files.sort();
    Project { files, commands }
}

type Made = (Vec<(String, String)>, Vec<String>);

fn javascript(name: &str, kind: Kind) -> Made {
    let of = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let mut package = of(example!("javascript/package.json"));
    package.insert("name".into(), json!(name));
    package.insert(
        "description".into(),
        json!(format!("A {} for Anomalyzer", kind.name())),
    );
    package.insert("scripts".into(), json!({ "build": format!(
        "componentize-js {kind}.js --wit wit --world-name {kind}-plugin --disable stdio random clocks http fetch-event --out {name}.wasm",
        kind = kind.name()
    ) }));
    package.remove("license");
    let mut lock = of(example!("javascript/package-lock.json"));
    lock.insert("name".into(), json!(name));
    if let Some(own) = lock
        .get_mut("packages")
        .and_then(|packages| packages.get_mut(""))
        .and_then(Value::as_object_mut)
    {
        own.insert("name".into(), json!(name));
        own.remove("license");
    }
    let pretty =
        |map: &Map<String, Value>| serde_json::to_string_pretty(map).unwrap_or_default() + "\n";
    let files = vec![
        ("package.json".to_owned(), pretty(&package)),
        ("package-lock.json".to_owned(), pretty(&lock)),
        (
            ".gitignore".to_owned(),
            "node_modules/\n*.wasm\n".to_owned(),
        ),
    ];
    (
        files,
        vec![
            "npm ci --ignore-scripts    # once".to_owned(),
            "npm run build".to_owned(),
        ],
    )
}

fn python(name: &str, kind: Kind) -> Made {
    let files = vec![
        (
            "requirements.txt".to_owned(),
            example!("python/requirements.txt").to_owned(),
        ),
        (
            ".gitignore".to_owned(),
            "venv/\n__pycache__/\n*.wasm\n".to_owned(),
        ),
    ];
    let kind = kind.name();
    let commands = vec![
        "python3 -m venv venv && venv/bin/pip install --only-binary :all: --requirement requirements.txt    # once"
            .to_owned(),
        format!(
            "venv/bin/componentize-py --wit-path wit --world {kind}-plugin componentize --stub-wasi --python-path src --output {name}.wasm {kind}"
        ),
    ];
    (files, commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_has_the_projects_name_and_the_examples_none() {
        for language in [Language::Javascript, Language::Python] {
            for kind in [Kind::Detector, Kind::Action] {
                let files = project("my-plugin", kind, language).files;
                let source = files
                    .iter()
                    .find(|(path, _)| path.contains(&format!("{}.", kind.name())))
                    .map(|(_, text)| text);
                assert!(
                    source.is_some_and(|text| text.contains("\"my-plugin\"")),
                    "{language:?} {kind:?}"
                );
                for (path, text) in &files {
                    let left = NAMES
                        .iter()
                        .chain(&REMARKS)
                        .find(|old| text.contains(**old));
                    assert_eq!(left, None, "{path}");
                }
            }
        }
    }
}
