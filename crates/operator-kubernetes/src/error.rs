//! Classification of the API's errors and of missing responses.

use std::error::Error as _;
use std::io;

use anomalyzer_domain::Target;
use anomalyzer_operator::OperatorError;

/// Maximum number of characters that are kept of a message. The responder may be a proxy that sends
/// a page of HTML.
const LONGEST: usize = 300;

/// Reason that kube gives for an answer that is no `Status`.
const UNREADABLE: &str = "Failed to parse error data";

/// Reason why a request to the API failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// Status 404.
    NotFound(String),
    /// Status 404 of a server that does not know the path: the kind does not exist there, or the
    /// server is not the Kubernetes API.
    NoSuchPath(String),
    /// Status 409.
    Conflict(String),
    /// Status 400, 401, 403, 405 or 422: a retry does not help.
    Refused(String),
    /// Status 429, or no connection: the request was not done.
    Unavailable(String),
    /// Unknown outcome. The request was sent, and a 5xx status, a timeout or an unreadable response
    /// does not tell if it was done.
    Unknown(String),
}

impl ApiError {
    /// Converts the error for a read of `target`, or of an object that belongs to it.
    pub fn of_read(self, target: &Target) -> OperatorError {
        match self {
            Self::NotFound(_) => OperatorError::NotFound(target.clone()),
            Self::Conflict(why) => OperatorError::Conflict(why),
            Self::Refused(why) => OperatorError::Refused(why),
            Self::Unavailable(why) | Self::Unknown(why) | Self::NoSuchPath(why) => {
                OperatorError::Unavailable(why)
            }
        }
    }
}

/// Classifies the error of a request. `what` describes the request.
pub fn classify(what: &str, error: kube::Error) -> ApiError {
    let kube::Error::Api(status) = error else {
        return without_answer(what, &error);
    };
    let answer = if status.reason == UNREADABLE {
        format!(
            "something that is not the Kubernetes API: {}",
            short(&status.message)
        )
    } else {
        short(&status.message)
    };
    let why = format!(
        "{what}: the Kubernetes API answered {}: {answer}",
        status.code
    );
    let not_kubernetes = status.reason == UNREADABLE;
    match status.code {
        // Another server knows nothing of the object.
        404 if not_kubernetes => ApiError::NoSuchPath(why),
        404 => ApiError::NotFound(why),
        409 => ApiError::Conflict(why),
        401 => ApiError::Refused(format!(
            "{why} (check the credentials of the kubeconfig or the service account)"
        )),
        403 => ApiError::Refused(format!(
            "{why} (grant it: deploy/kubernetes/rbac.yaml has the rights that are needed)"
        )),
        429 => ApiError::Unavailable(why),
        400..=499 => ApiError::Refused(why),
        _ => ApiError::Unknown(why),
    }
}

fn without_answer(what: &str, error: &kube::Error) -> ApiError {
    let mut why = format!("{what}: {}", short(&error.to_string()));
    let mut source = error.source();
    let mut never_sent = false;
    while let Some(cause) = source {
        why = format!("{what}: {}", short(&cause.to_string()));
        never_sent |= cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            )
        });
        never_sent |= cause.downcast_ref::<rustls::Error>().is_some();
        source = cause.source();
    }
    match error {
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            ApiError::Unknown(format!("{why} (what answers is not the Kubernetes API)"))
        }
        kube::Error::BuildRequest(_) | kube::Error::Auth(_) => ApiError::Refused(why),
        _ if never_sent => ApiError::Unavailable(why),
        _ => ApiError::Unknown(why),
    }
}

/// Shortens `text` to one line of at most [`LONGEST`] characters.
pub fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_html_becomes_one_short_line() {
        let page = format!("<html>\n<body>\t{}</body>", "é".repeat(1_000));
        let line = short(&page);
        assert!(line.starts_with("<html> <body> é") && line.chars().count() == LONGEST + 1);
    }
}
