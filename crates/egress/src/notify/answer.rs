//! Verdict on a receiver's answer: accepted, refused, or to be tried again after a wait.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// Longest wait that a receiver is granted. A longer one is cut, so that a wrong clock or a mistake
/// of the receiver does not silence a channel.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Maximum number of bytes of a body that are read for its `retry_after`.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Verdict on one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// The receiver accepted the notice.
    Accepted,
    /// A later attempt may succeed.
    Later {
        /// Reason in words.
        why: String,
        /// Wait that the receiver asks for, at most [`MAX_RETRY_AFTER`].
        after: Option<Duration>,
    },
    /// A repetition would be refused too, for the given reason.
    Refused(String),
}

/// Returns the verdict on an answer. `body` is the beginning of the body, and `now` the time of the
/// answer.
pub fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Attempt {
    if status.is_success() {
        return Attempt::Accepted;
    }
    let why = format!("it answered {status}");
    let later = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    match later {
        true => Attempt::Later {
            why,
            after: in_header(headers, now).or_else(|| in_body(body)),
        },
        false => Attempt::Refused(why),
    }
}

/// Reads the header `Retry-After`: a number of seconds, or an HTTP date. A date in the past asks
/// for no wait.
fn in_header(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return wait(seconds);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let left = date.duration_since(now).ok()?;
    wait(left.as_secs_f64())
}

/// Reads `retry_after` of a JSON body, in seconds: at the top as Discord writes it, or among the
/// `parameters` as Telegram does.
fn in_body(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let seconds = body
        .get("retry_after")
        .or_else(|| body.pointer("/parameters/retry_after"))?;
    wait(
        seconds
            .as_f64()
            .or_else(|| seconds.as_str()?.trim().parse().ok())?,
    )
}

fn wait(seconds: f64) -> Option<Duration> {
    // NaN and a wait that is none count as no wish.
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, retry_after: &str, body: &str) -> Attempt {
        let mut headers = HeaderMap::new();
        if !retry_after.is_empty() {
            headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        }
        // Sun, 06 Nov 1994 08:49:07 GMT.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_747);
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, &headers, body.as_bytes(), now)
    }

    #[test]
    fn each_form_of_a_wish_to_wait_is_read() {
        let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
        for (status, header, body, expected) in [
            (429, "30", "ratelimited", seconds(30.0)),
            (429, " 30 ", "", seconds(30.0)),
            (429, "1.5", "", seconds(1.5)),
            (503, "120", "", seconds(120.0)),
            // The three forms of an HTTP date.
            (429, "Sun, 06 Nov 1994 08:49:37 GMT", "", seconds(30.0)),
            (503, "Sunday, 06-Nov-94 08:49:37 GMT", "", seconds(30.0)),
            (503, "Sun Nov  6 08:49:37 1994", "", seconds(30.0)),
            // Discord.
            (
                429,
                "",
                r#"{"message": "You are being rate limited.", "retry_after": 1.337, "global": false}"#,
                seconds(1.337),
            ),
            // Telegram.
            (
                429,
                "",
                r#"{"ok": false, "error_code": 429, "parameters": {"retry_after": 35}}"#,
                seconds(35.0),
            ),
            (429, "", r#"{"retry_after": "7"}"#, seconds(7.0)),
            // The header counts before the body.
            (429, "2", r#"{"retry_after": 9}"#, seconds(2.0)),
            // A wait is bounded.
            (429, "86400", "", Some(MAX_RETRY_AFTER)),
            (429, "1e300", "", Some(MAX_RETRY_AFTER)),
            (
                429,
                "Sat, 06 Nov 2094 08:49:37 GMT",
                "",
                Some(MAX_RETRY_AFTER),
            ),
            // PagerDuty asks for no certain wait. These values are none.
            (429, "", r#"{"status": "throttle exceeded"}"#, None),
            (429, "0", "", None),
            (429, "-5", "", None),
            (429, "NaN", "", None),
            (429, "soon", "", None),
            (429, "Sun, 06 Nov 1994 08:49:00 GMT", "", None),
            (429, "", r#"{"retry_after": null}"#, None),
            (429, "", "[1, 2", None),
            (500, "", "", None),
            (408, "", "", None),
        ] {
            let Attempt::Later { after, .. } = answer(status, header, body) else {
                panic!("{status} {header} {body} is to be tried again");
            };
            assert_eq!(after, expected, "{status} {header} {body}");
        }
    }

    #[test]
    fn other_answers_are_final() {
        for status in [200, 202, 204] {
            assert_eq!(answer(status, "30", ""), Attempt::Accepted);
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 422] {
            assert!(
                matches!(answer(status, "30", ""), Attempt::Refused(why) if why.contains(&status.to_string()))
            );
        }
    }

    proptest! {
        #[test]
        fn no_answer_silences_a_channel_for_long(
            status in 400u16..600, header in "[ -~]{0,40}", body in any::<Vec<u8>>()
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, header.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            if let Attempt::Later { after: Some(after), .. } =
                judge(status, &headers, &body, SystemTime::now())
            {
                prop_assert!(after <= MAX_RETRY_AFTER && !after.is_zero());
            }
        }
    }
}
