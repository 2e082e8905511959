//! Target of a signal: fixed, or a template over the labels of its series.

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{Labels, Target};

/// A target whose parts may hold `{{label}}`: `{ namespace = "{{namespace}}", kind = "Deployment",
/// name = "{{deployment}}" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Target", into = "Target")]
pub struct TargetTemplate(Target);

/// Error of a target that is not a valid template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A required part is missing.
    #[error(
        "the target has no {0}: give one, as `kind = \"Deployment\"` or `name = \"{{{{deployment}}}}\"`"
    )]
    Empty(&'static str),
    /// Braces without an end, or without a label between them.
    #[error(
        "`{0}` is not a template: write the name of a label between braces, as `{{{{deployment}}}}`"
    )]
    Braces(String),
}

/// Part of a template text: literal text, or the name of a label.
enum Part<'a> {
    Text(&'a str),
    Label(&'a str),
}

impl TargetTemplate {
    /// Returns the target, if the template has no labels.
    pub fn fixed(&self) -> Option<&Target> {
        self.labels().is_empty().then_some(&self.0)
    }

    /// Returns the labels that the template is filled from.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        for text in self.texts() {
            // The text was checked when the template was created.
            for part in parts(text).unwrap_or_default() {
                if let Part::Label(label) = part {
                    labels.push(label);
                }
            }
        }
        labels
    }

    /// Returns the target of a series. Returns `None` if a label is missing or makes an invalid
    /// target: see [`Target::check`].
    pub fn render(&self, labels: &Labels) -> Option<Target> {
        let fill = |text: &str| {
            let mut filled = String::new();
            for part in parts(text).ok()? {
                match part {
                    Part::Text(text) => filled.push_str(text),
                    Part::Label(label) => {
                        let value = labels.get(label)?;
                        if value.is_empty() {
                            return None;
                        }
                        filled.push_str(value);
                    }
                }
            }
            Some(filled)
        };
        let target = Target {
            cluster: fill(&self.0.cluster)?,
            namespace: fill(&self.0.namespace)?,
            kind: fill(&self.0.kind)?,
            name: fill(&self.0.name)?,
        };
        target.check().is_ok().then_some(target)
    }

    fn texts(&self) -> [&str; 4] {
        [
            &self.0.cluster,
            &self.0.namespace,
            &self.0.kind,
            &self.0.name,
        ]
    }
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let wrong = || TemplateError::Braces(text.to_owned());
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (label, after) = behind.split_once("}}").ok_or_else(wrong)?;
        let label = label.trim();
        // Prometheus 3 allows any text as the name of a label, such as `k8s.deployment.name`.
        if label.is_empty() || label.contains(|c: char| c == '{' || c == '}' || c.is_control()) {
            return Err(wrong());
        }
        parts.extend([Part::Text(before), Part::Label(label)]);
        rest = after;
    }
    if rest.contains("}}") {
        return Err(wrong());
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

impl TryFrom<Target> for TargetTemplate {
    type Error = TemplateError;

    fn try_from(target: Target) -> Result<Self, Self::Error> {
        for (part, text) in [
            ("cluster", &target.cluster),
            ("kind", &target.kind),
            ("name", &target.name),
        ] {
            if text.is_empty() {
                return Err(TemplateError::Empty(part));
            }
        }
        let template = Self(target);
        for text in template.texts() {
            parts(text)?;
        }
        Ok(template)
    }
}

impl From<TargetTemplate> for Target {
    fn from(template: TargetTemplate) -> Self {
        template.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(namespace: &str, name: &str) -> Result<TargetTemplate, TemplateError> {
        Target::new(namespace, "Deployment", name).try_into()
    }

    #[test]
    fn a_target_without_braces_is_fixed() {
        let fixed = template("shop", "web").unwrap();
        assert_eq!(
            fixed.fixed(),
            Some(&Target::new("shop", "Deployment", "web"))
        );
        assert_eq!(fixed.render(&Labels::default()).as_ref(), fixed.fixed());
    }

    #[test]
    fn labels_fill_the_places_and_what_can_not_be_filled_is_no_target() {
        let template = template("{{namespace}}", "{{ app }}-{{tier}}").unwrap();
        assert_eq!(template.labels(), ["namespace", "app", "tier"]);
        let labels = Labels::new([("namespace", "shop"), ("app", "web"), ("tier", "front")]);
        assert_eq!(
            template.render(&labels),
            Some(Target::new("shop", "Deployment", "web-front"))
        );
        assert_eq!(template.fixed(), None);
        for bad in ["", "a/b", "a\nb"] {
            assert_eq!(template.render(&labels.with("app", bad)), None, "{bad:?}");
        }
        assert_eq!(template.render(&Labels::new([("namespace", "shop")])), None);
    }

    #[test]
    fn any_name_of_a_label_stands_between_braces() {
        for label in [
            "k8s.deployment.name",
            "service-name",
            "a b",
            "größe",
            "0",
            "a/b:c",
        ] {
            let template = template("", &format!("x-{{{{{label}}}}}")).unwrap();
            assert_eq!(template.labels(), [label]);
            assert_eq!(
                template.render(&Labels::new([(label, "web")])),
                Some(Target::new("", "Deployment", "x-web"))
            );
        }
    }

    #[test]
    fn broken_braces_are_refused() {
        for name in [
            "{{app", "app}}", "{{}}", "{{ }}", "{{a{b}}", "{{a}b}}", "{{a\nb}}", "",
        ] {
            assert!(template("shop", name).is_err(), "{name}");
        }
    }
}
