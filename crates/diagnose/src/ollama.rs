//! Client of Ollama's `/api/chat`. `format` is a JSON schema whose enum contains only the actions
//! that this target may get.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Diagnosis;
use super::prompt::{SYSTEM, prompt};
use anomalyzer_common::secret_url::SecretUrl;
use anomalyzer_domain::{
    Analyst, AnalystKind, ConfigIssue, Evidence, IncidentEvent, Parameters, Proposal, duration,
    one_line, truncate,
};

/// Configuration of the language model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OllamaConfig {
    /// Base URL, for example `http://127.0.0.1:11434`.
    pub url: SecretUrl,
    /// Name of the model, for example `llama3.1:8b`.
    pub model: String,
    /// Maximum time for one answer; the first one includes loading the model.
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// Number of consecutive failures after which only the rules decide for a while.
    #[serde(default = "default_breaker")]
    pub breaker_after: u32,
    /// Time during which only the rules decide.
    #[serde(default = "default_pause", with = "duration")]
    pub breaker_pause: Duration,
    /// Role of the model: it decides, or its answer is only recorded while the rules decide. The
    /// second role is for a model that is not trusted yet.
    #[serde(default)]
    pub role: Role,
    /// Maximum number of concurrent requests.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
}

impl OllamaConfig {
    /// Creates a configuration with defaults for everything but URL and model.
    pub fn new(url: impl Into<SecretUrl>, model: String) -> Self {
        Self {
            url: url.into(),
            model,
            timeout: default_timeout(),
            breaker_after: default_breaker(),
            breaker_pause: default_pause(),
            role: Role::default(),
            concurrency: default_concurrency(),
        }
    }

    /// Checks the address and the name of the model.
    ///
    /// # Errors
    /// Returns an error if `url` is not an HTTP address or if `model` is empty.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        let url = reqwest::Url::parse(self.url.reveal());
        if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            let message = format!(
                "`{}` is not an address: write for example http://127.0.0.1:11434",
                self.url
            );
            return Err(ConfigIssue::at("url", message));
        }
        if self.model.trim().is_empty() {
            let message = "no model is named: write for example llama3.1:8b";
            return Err(ConfigIssue::at("model", message));
        }
        Ok(())
    }
}

/// Role of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The model decides.
    #[default]
    Decide,
    /// The model's answer is only recorded, and the rules decide.
    Advise,
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}
fn default_breaker() -> u32 {
    3
}
fn default_pause() -> Duration {
    Duration::from_secs(60)
}
fn default_concurrency() -> usize {
    1
}

/// Maximum number of characters of the model's explanation. Not every model follows the schema.
const MAX_EXPLANATION: usize = 300;
/// Maximum size of an answer in bytes.
const LARGEST_ANSWER: usize = 1 << 20;
/// Maximum number of generated tokens. It is enough for the schema and short enough to end.
const MAX_TOKENS: u32 = 400;
/// Maximum length in bytes of a text of the server or the model that a reason quotes.
const MAX_QUOTED_BYTES: usize = 200;

/// Health of Ollama.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OllamaHealth {
    /// Name of the model.
    pub model: String,
    /// Digest of the model, if the model is available.
    pub digest: Option<String>,
    /// Current problem.
    pub problem: Option<String>,
}

/// Unusable answer, with the reason. The decision quotes it.
#[derive(Debug)]
pub(super) struct Useless {
    pub why: String,
    pub raw_answer: Option<String>,
    /// Digest of the model. None if it could not be read.
    pub digest: Option<String>,
    pub prompt: String,
    pub took_ms: u64,
}

pub(super) struct Ollama {
    config: OllamaConfig,
    client: reqwest::Client,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    stream: bool,
    think: bool,
    messages: [Message<'a>; 2],
    format: Schema,
    options: Value,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct Schema {
    r#type: &'static str,
    properties: Properties,
    required: [&'static str; 5],
}

/// Properties of the answer. A model writes them in this order, token by token, so it cites and
/// explains before it chooses. A map would put the alternative first.
#[derive(Serialize)]
struct Properties {
    evidence: Value,
    explanation: Value,
    solution: Value,
    confidence: Value,
    alternative: Value,
}

#[derive(Deserialize)]
struct ChatAnswer {
    #[serde(default)]
    message: Option<ChatMessage>,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChatMessage {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Answer {
    solution: String,
    explanation: String,
    confidence: f64,
    evidence: Vec<String>,
    #[serde(default)]
    alternative: Option<String>,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    digest: String,
}

impl Ollama {
    pub(super) fn new(config: OllamaConfig) -> Result<Self, String> {
        let client = anomalyzer_common::http_client::client(config.timeout)
            .map_err(|error| error.to_string())?;
        Ok(Self { config, client })
    }

    pub(super) fn config(&self) -> &OllamaConfig {
        &self.config
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}/{path}", self.config.url.reveal().trim_end_matches('/'))
    }

    /// Returns the digest of the model.
    pub(super) async fn digest(&self) -> Result<String, String> {
        let answer = self
            .client
            .get(self.endpoint("api/tags"))
            .timeout(Duration::from_secs(5))
            .send()
            .await;
        let url = &self.config.url;
        let answer = answer
            .map_err(|error| format!("ollama at {url} cannot be reached: {}", root(error)))?;
        let status = answer.status();
        let body = self.read(answer).await?;
        if !status.is_success() {
            return Err(refusal(
                &format!("ollama at {url} answered {status}"),
                &body,
            ));
        }
        let tags: Tags = serde_json::from_slice(&body)
            .map_err(|_| format!("{url} does not answer as ollama does: is the address right?"))?;
        let wanted = &self.config.model;
        let with_latest = format!("{wanted}:latest");
        tags.models
            .into_iter()
            .find(|tag| tag.name == *wanted || tag.name == with_latest)
            .map(|tag| tag.digest)
            .ok_or_else(|| format!("ollama has no model `{wanted}`: run `ollama pull {wanted}`"))
    }

    /// Asks the model once. Returns an error with the reason unless the answer is complete, valid
    /// and limited to the offered actions.
    pub(super) async fn ask(
        &self,
        event: &IncidentEvent,
        evidence: &[Evidence],
        offered: &[String],
    ) -> Result<Diagnosis, Useless> {
        let started = Instant::now();
        let prompt = prompt(event, evidence, offered);
        let digest = self.digest().await;
        let useless = |why: String, raw_answer: Option<String>| Useless {
            why: self.config.url.mask_in(&why),
            raw_answer,
            digest: digest.as_ref().ok().cloned(),
            prompt: prompt.clone(),
            took_ms: elapsed(started),
        };
        if let Err(why) = &digest {
            return Err(useless(why.clone(), None));
        }
        let request = Request {
            model: &self.config.model,
            stream: false,
            think: false,
            messages: [("system", SYSTEM), ("user", &prompt)]
                .map(|(role, content)| Message { role, content }),
            format: schema(evidence, offered),
            options: json!({ "temperature": 0, "seed": 1, "num_predict": MAX_TOKENS }),
        };
        let sent = self
            .client
            .post(self.endpoint("api/chat"))
            .json(&request)
            .timeout(self.config.timeout)
            .send()
            .await;
        let answer = sent.map_err(|error| useless(self.unsent(error), None))?;
        let status = answer.status();
        let body = self.read(answer).await.map_err(|why| useless(why, None))?;
        let raw = || Some(String::from_utf8_lossy(&body).into_owned());
        if !status.is_success() {
            let why = refusal(&format!("ollama answered {status}"), &body);
            return Err(useless(why, raw()));
        }
        let content = content(&body).map_err(|(why, quoted)| useless(why, quoted.or_else(raw)))?;
        match check(&content, evidence, offered) {
            Ok(answer) => Ok(Diagnosis {
                proposals: proposals(&answer),
                cites: answer.evidence,
                analyst: Analyst {
                    kind: AnalystKind::Ollama,
                    model: Some(self.config.model.clone()),
                    digest: digest.ok(),
                    took_ms: elapsed(started),
                    why_rules: None,
                    prompt_sha256: Some(hash(&prompt)),
                    prompt: Some(prompt),
                    raw_answer: Some(content),
                },
            }),
            Err(why) => Err(useless(why, Some(content))),
        }
    }

    /// Reads the body of an answer. Masks the credentials of the address in it, because a server
    /// may repeat them and the body is recorded.
    async fn read(&self, answer: reqwest::Response) -> Result<Vec<u8>, String> {
        let body = read(answer).await?;
        let text = String::from_utf8_lossy(&body);
        Ok(self.config.url.mask_in(&text).into_bytes())
    }

    /// Returns the reason why a request got no answer.
    fn unsent(&self, error: reqwest::Error) -> String {
        if error.is_timeout() {
            format!("ollama did not answer within {:?}", self.config.timeout)
        } else {
            let url = &self.config.url;
            format!("ollama at {url} cannot be reached: {}", root(error))
        }
    }
}

/// Adds Ollama's own explanation in the body of a failure, shortened, to `what`.
fn refusal(what: &str, body: &[u8]) -> String {
    let reason = serde_json::from_slice::<ChatAnswer>(body)
        .ok()
        .and_then(|answer| answer.error)
        .map(|error| explanation(&error))
        .filter(|reason| !reason.is_empty());
    match reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what.to_owned(),
    }
}

/// Returns the text of an `error`: a string, or an object with a `message` as some proxies send it.
fn explanation(error: &Value) -> String {
    let text = error.as_str().or_else(|| error["message"].as_str());
    let text = text.map_or_else(|| error.to_string(), str::to_owned);
    truncate(&text.replace('\n', " "), MAX_QUOTED_BYTES)
}

/// Returns the text that the model answered. The error names the reason why there is none, and
/// quotes the text of the model if it has any.
fn content(body: &[u8]) -> Result<String, (String, Option<String>)> {
    let unusable = |why: &str| Err((why.to_owned(), None));
    let Ok(answer) = serde_json::from_slice::<ChatAnswer>(body) else {
        return unusable("ollama's answer is not JSON");
    };
    if let Some(error) = answer.error.as_ref().map(explanation) {
        return unusable(&format!("ollama answered with an error: {error}"));
    }
    let Some(message) = answer.message else {
        return unusable("ollama's answer has no message");
    };
    let content = message.content.unwrap_or_default();
    let text = content.trim();
    let why = if let Some(call) = message.tool_calls.unwrap_or_default().first() {
        let name = call["function"]["name"].as_str().unwrap_or("unnamed");
        let name = truncate(name, 60);
        format!("the model called the tool `{name}`, and there are none: choose another model")
    } else if answer.done_reason.as_deref() == Some("length") {
        "the model's answer was cut at its length limit".to_owned()
    } else if text.is_empty()
        && message
            .thinking
            .is_some_and(|thinking| !thinking.trim().is_empty())
    {
        "the model thought and answered nothing: choose a model that answers without thinking"
            .to_owned()
    } else if text.is_empty() {
        let ended = answer.done_reason.unwrap_or_else(|| "no reason".to_owned());
        format!(
            "the model's answer is empty (done_reason: {})",
            truncate(&ended, 60)
        )
    } else if text.starts_with("<think>") || text.starts_with("<thinking>") {
        "the model put its thinking into the answer: choose a model that answers without thinking"
            .to_owned()
    } else if text.starts_with("```") {
        "the model put a code fence around its answer, so it ignores the schema: choose another \
         model"
            .to_owned()
    } else {
        return Ok(content);
    };
    Err((why, (!text.is_empty()).then_some(content)))
}

/// Parses the stored answer of a model. Returns the proposals and the ids of the cited evidence.
pub(super) fn reread(
    evidence: &[Evidence],
    offered: &[String],
    content: &str,
) -> Result<(Vec<Proposal>, Vec<String>), String> {
    check(content, evidence, offered).map(|answer| (proposals(&answer), answer.evidence))
}

pub(super) fn hash(prompt: &str) -> String {
    hex::encode(Sha256::digest(prompt.as_bytes()))
}

fn proposals(answer: &Answer) -> Vec<Proposal> {
    let of = |solution: &str, confidence: f64| Proposal {
        solution_type: solution.to_owned(),
        parameters: Parameters::new(),
        explanation: one_line(&answer.explanation, MAX_EXPLANATION),
        confidence,
    };
    let mut proposals = vec![of(&answer.solution, answer.confidence)];
    if let Some(alternative) = answer
        .alternative
        .as_deref()
        .filter(|other| *other != answer.solution)
    {
        proposals.push(of(alternative, answer.confidence / 2.0));
    }
    proposals
}

/// Parses and validates an answer. Not every model follows the enums of a schema, so the host
/// checks the answer too.
fn check(content: &str, evidence: &[Evidence], offered: &[String]) -> Result<Answer, String> {
    let answer: Answer = serde_json::from_str(content)
        .map_err(|error| format!("the model's answer does not fit the schema: {error}"))?;
    if !offered.contains(&answer.solution) {
        return Err(format!(
            "the model chose `{}`, which was not offered",
            truncate(&answer.solution, 60)
        ));
    }
    if answer
        .alternative
        .as_ref()
        .is_some_and(|other| !offered.contains(other))
    {
        return Err("the model's alternative was not offered".into());
    }
    if !(0.0..=1.0).contains(&answer.confidence) {
        return Err(format!(
            "the model's confidence {} is not between 0 and 1",
            answer.confidence
        ));
    }
    if answer.explanation.trim().is_empty() {
        return Err("the model explains nothing".into());
    }
    if answer.evidence.is_empty() {
        return Err("the model cites no evidence".into());
    }
    if let Some(unknown) = answer
        .evidence
        .iter()
        .find(|id| !evidence.iter().any(|known| known.id == **id))
    {
        return Err(format!(
            "the model cites `{}`, which it was not shown",
            truncate(unknown, 20)
        ));
    }
    Ok(answer)
}

/// Builds the schema of the answer. Every string, number and list is bounded, because a model
/// continues an unbounded one until the token limit.
fn schema(evidence: &[Evidence], offered: &[String]) -> Schema {
    let ids: Vec<&str> = evidence.iter().map(|one| one.id.as_str()).collect();
    Schema {
        r#type: "object",
        properties: Properties {
            evidence: json!({ "type": "array", "items": { "type": "string", "enum": ids }, "minItems": 1, "maxItems": 3 }),
            explanation: json!({ "type": "string", "minLength": 10, "maxLength": MAX_EXPLANATION }),
            solution: json!({ "type": "string", "enum": offered }),
            confidence: json!({ "type": "number", "enum": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] }),
            alternative: json!({ "type": "string", "enum": offered }),
        },
        required: [
            "evidence",
            "explanation",
            "solution",
            "confidence",
            "alternative",
        ],
    }
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| format!("ollama's answer broke off: {}", root(error)))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(format!(
                "ollama's answer is larger than {LARGEST_ANSWER} bytes"
            ));
        }
    }
    Ok(body)
}

fn elapsed(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Returns the innermost cause. The outer causes only repeat the address, which may hold a secret.
fn root(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::EvidenceKind;

    #[track_caller]
    fn refuse(content: &str, why: &str) {
        let evidence = [Evidence {
            id: "e1".into(),
            kind: EvidenceKind::Finding,
            text: String::new(),
        }];
        let error = check(content, &evidence, &["alarm".into()])
            .err()
            .unwrap_or_default();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    }

    #[test]
    fn an_answer_that_keeps_not_to_what_was_offered_is_refused_with_the_reason() {
        refuse("I would restart it.", "does not fit the schema");
        refuse(r#"{"solution":"alarm","#, "does not fit the schema");
        let full = |solution: &str, evidence: &str, confidence: f64| {
            format!(
                r#"{{"solution":"{solution}","explanation":"because","confidence":{confidence},"evidence":[{evidence}]}}"#
            )
        };
        refuse(&full("delete_all", r#""e1""#, 0.5), "which was not offered");
        refuse(&full("alarm", "", 0.5), "cites no evidence");
        refuse(&full("alarm", r#""e9""#, 0.5), "which it was not shown");
        refuse(&full("alarm", r#""e1""#, 7.0), "not between 0 and 1");
    }

    #[test]
    fn an_explanation_is_one_line_of_a_bounded_length() {
        for (explanation, told) in [
            (
                "because\n\u{7}of that".to_owned(),
                "because of that".to_owned(),
            ),
            (
                "x".repeat(300_000),
                format!("{}…", "x".repeat(MAX_EXPLANATION)),
            ),
        ] {
            let answer = Answer {
                explanation,
                ..serde_json::from_value(json!({
                    "solution": "alarm", "explanation": "", "confidence": 0.5, "evidence": ["e1"]
                }))
                .unwrap()
            };
            assert_eq!(proposals(&answer)[0].explanation, told);
        }
    }

    #[test]
    fn a_model_explains_before_it_chooses() {
        let written = serde_json::to_string(&schema(&[], &["alarm".into()]).properties).unwrap();
        let place = |name: &str| written.find(&format!("\"{name}\":")).unwrap();
        let order = [
            "evidence",
            "explanation",
            "solution",
            "confidence",
            "alternative",
        ]
        .map(place);
        assert!(order.is_sorted(), "{written}");
    }

    #[test]
    fn each_kind_of_unusable_answer_has_a_reason_of_its_own() {
        let said = |message: Value, done: &str| {
            let body = json!({ "message": message, "done_reason": done }).to_string();
            content(body.as_bytes()).map_err(|(why, said)| (why, said.is_some()))
        };
        let call = json!([{ "function": { "name": "restart", "arguments": {} } }]);
        for (message, done, why, is_quoted) in [
            (
                json!({ "content": "", "tool_calls": call }),
                "stop",
                "the tool `restart`",
                false,
            ),
            (
                json!({ "tool_calls": [{}] }),
                "stop",
                "the tool `unnamed`",
                false,
            ),
            (
                json!({ "content": "", "thinking": "hm" }),
                "stop",
                "thought and answered",
                false,
            ),
            (
                json!({ "content": "<think>hm</think>{}" }),
                "stop",
                "put its thinking",
                true,
            ),
            (
                json!({ "content": " " }),
                "load",
                "is empty (done_reason: load)",
                false,
            ),
            (
                json!({ "content": null }),
                "stop",
                "is empty (done_reason: stop)",
                false,
            ),
            (json!({}), "stop", "is empty", false),
            (
                json!({ "content": "\n```json\n{}\n```" }),
                "stop",
                "a code fence",
                true,
            ),
            (
                json!({ "content": "{", "thinking": "hm" }),
                "length",
                "cut at its length",
                true,
            ),
            (
                json!({ "content": "", "thinking": "hm" }),
                "length",
                "cut at its length",
                false,
            ),
        ] {
            let (reason, quoted) = said(message.clone(), done).unwrap_err();
            assert!(
                reason.contains(why) && quoted == is_quoted,
                "{message}: {reason}"
            );
        }
        let good = json!({ "content": "{}", "thinking": "hm", "tool_calls": [] });
        assert_eq!(said(good, "stop"), Ok("{}".to_owned()));
        let body = br#"{"message": null, "error": null}"#;
        assert_eq!(
            content(body).unwrap_err().0,
            "ollama's answer has no message"
        );
    }

    #[test]
    fn a_failure_is_explained_in_ollamas_words() {
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(10_000));
        for (body, told) in [
            (
                r#"{"error":"more memory (5.6 GiB)"}"#,
                ": more memory (5.6 GiB)",
            ),
            (
                r#"{"error":{"message":"no such model"}}"#,
                ": no such model",
            ),
            (r#"{"error":"a\nb\u0007c"}"#, ": a b c"),
            (r#"{"error":["odd"]}"#, r#": ["odd"]"#),
            (r#"{"error":""}"#, ""),
            ("<html>busy</html>", ""),
            ("", ""),
        ] {
            let why = refusal("ollama answered 500", body.as_bytes());
            assert_eq!(why, format!("ollama answered 500{told}"));
        }
        assert!(refusal("500", long.as_bytes()).len() < 300);
    }
}
