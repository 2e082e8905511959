use proptest::prelude::*;

use super::*;
use anomalyzer_domain::{Labels, Sample, Series};

fn answer(status: u16, body: impl AsRef<[u8]>) -> Result<Answered, SourceError> {
    let body = body.as_ref().to_vec();
    let answer = fetch::Answer {
        status,
        html: body.starts_with(b"<"),
        body,
        ..fetch::Answer::default()
    };
    read("http://p/api/v1/query", "q", &answer)
}

fn found(result: &str) -> Result<Found, SourceError> {
    let body = format!(r#"{{"status":"success","data":{result}}}"#);
    answer(200, &body)?.data.into_series("q", 7)
}

fn series(result: &str) -> Result<Vec<Series>, SourceError> {
    found(result).map(|found| found.series)
}

#[test]
fn a_vector_and_a_scalar_are_read_with_all_their_numbers() {
    let vector = r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"NaN"]},
                         {"metric":{},"value":[1.5,"+Inf"]},{"metric":{},"value":[1.5,"-1e3"]}]}"#;
    let read = series(vector).unwrap();
    assert_eq!(read[0].labels, Labels::new([("a", "b")]));
    assert!(read[0].samples[0].value.is_nan() && !read[0].samples[0].is_stale_marker());
    assert_eq!(
        read[1].samples,
        [Sample {
            at: 7,
            value: f64::INFINITY
        }]
    );
    assert_eq!(
        read[2].samples,
        [Sample {
            at: 7,
            value: -1000.0
        }]
    );
    assert_eq!(
        series(r#"{"resultType":"scalar","result":[1,"2"]}"#).unwrap()[0].samples[0].value,
        2.0
    );
    assert_eq!(
        series(r#"{"resultType":"vector","result":[]}"#).unwrap(),
        []
    );
}

#[test]
fn what_is_no_signal_is_refused_with_the_remedy() {
    for (result, says) in [
        (
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}"#,
            "drop the brackets",
        ),
        (
            r#"{"resultType":"string","result":[1,"x"]}"#,
            "needs numbers",
        ),
        (
            r#"{"resultType":"scalar","result":[1,"x"]}"#,
            "`x`, which is not a number",
        ),
    ] {
        let error = series(result).unwrap_err();
        assert_eq!(error.kind(), "wrong_shape");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn every_way_to_answer_nothing_useful_is_told_apart() {
    let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    let failed = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
    for (status, body, kind) in [
        (400, refused, "refused"),
        (503, failed, "failed"),
        (500, "<html>oops", "status"),
        (502, "", "status"),
        (200, "<!doctype html><title>Log in", "unexpected"),
        (200, r#"{"hello": 1}"#, "unexpected"),
        (200, "[]", "unexpected"),
        (200, "", "cut_short"),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vec"#,
            "cut_short",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":7}}"#,
            "malformed",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"table","result":[7]}}"#,
            "malformed",
        ),
        (200, r#"{"status":"error","error":"no"}"#, "failed"),
        (200, r#"{"status":"success"}"#, "unexpected"),
        (403, r#"{"message":"no token"}"#, "status"),
        (200, r#"{"status":"success"}}"#, "malformed"),
    ] {
        let error = answer(status, body)
            .map(|answered| answered.data)
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{body}: {error}");
    }
}

#[test]
fn null_is_an_empty_list_a_missing_label_or_a_missing_value() {
    for (result, series, nulls) in [
        ("null", 0, 0),
        (r#"{"resultType":"vector","result":null}"#, 0, 0),
        (r#"{"result":null}"#, 0, 0),
        (r#"{"resultType":"","result":[]}"#, 0, 0),
        (r#"{"resultType":null,"result":null}"#, 0, 0),
        (r#"{"resultType":"matrix","result":null}"#, 0, 0),
        (
            r#"{"result":[{"value":[1,"2"]}],"resultType":"vector"}"#,
            1,
            0,
        ),
        (
            r#"{"resultType":"vector","result":[{"metric":null,"value":[1,"2"]}]}"#,
            1,
            0,
        ),
        (
            r#"{"resultType":"vector","result":[{"metric":{"a":null},"value":[null,2.5]}]}"#,
            1,
            0,
        ),
        (
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1,null]}]}"#,
            0,
            1,
        ),
        (
            r#"{"resultType":"vector","result":[{"metric":{},"value":null},{"value":[1,"2"]}]}"#,
            1,
            1,
        ),
        (r#"{"resultType":"scalar","result":[1,null]}"#, 0, 1),
    ] {
        let found = found(result).unwrap();
        assert_eq!(
            (found.series.len(), found.nulls),
            (series, nulls),
            "{result}"
        );
    }
    for (result, samples, nulls) in [
        (r#"{"resultType":"matrix","result":null}"#, 0, 0),
        (
            r#"{"resultType":"matrix","result":[{"metric":{},"values":null}]}"#,
            0,
            0,
        ),
        (
            r#"{"resultType":"matrix","result":[{"values":[[1,"2"],null,[2,null],[3,"NaN"]],"histograms":null}]}"#,
            2,
            2,
        ),
        (r#"{"resultType":"scalar","result":[1,"2"]}"#, 1, 0),
        (
            r#"{"resultType":"vector","result":[{"value":[1,"2"]}]}"#,
            1,
            0,
        ),
    ] {
        let body = format!(
            r#"{{"status":"success","warnings":null,"infos":null,"isPartial":null,"data":{result}}}"#
        );
        let answered = answer(200, &body).unwrap();
        assert_eq!((&answered.partial, answered.notes.len()), (&None, 0));
        let found = answered.data.into_matrix("q").unwrap();
        let count: usize = found.series.iter().map(|series| series.samples.len()).sum();
        assert_eq!((count, found.nulls), (samples, nulls), "{result}");
    }
}

#[test]
fn native_histograms_are_left_out_and_counted() {
    let histogram = r#"[1,{"count":"6","sum":"3.2","buckets":[[0,"0.5","1","6"]]}]"#;
    let vector = format!(
        r#"{{"resultType":"vector","result":[{{"metric":{{}},"histogram":{histogram}}},{{"metric":{{"a":"b"}},"value":[1,"2"]}}]}}"#
    );
    let found = found(&vector).unwrap();
    assert_eq!((found.series.len(), found.histograms), (1, 1));
    let matrix = format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"histograms":[{histogram}]}}]}}}}"#
    );
    let found = answer(200, &matrix).unwrap().data.into_matrix("q").unwrap();
    assert_eq!((found.series.len(), found.histograms), (0, 1));
}

#[test]
fn a_warning_that_is_no_annotation_makes_the_answer_partial() {
    let annotation = r#""PromQL warning: bucket label \"le\" is missing""#;
    let info = r#""PromQL info: metric might not be a counter""#;
    let mut many = vec![annotation; 50];
    many.push(r#""store is away""#);
    let many = format!(r#""warnings":[{}]"#, many.join(","));
    for (extra, partial) in [
        (r#""infos":[]"#.to_owned(), false),
        (format!(r#""warnings":[{annotation}]"#), false),
        (format!(r#""infos":[{info}]"#), false),
        (format!(r#""warnings":[{info}]"#), false),
        (r#""isPartial":false"#.to_owned(), false),
        (r#""isPartial":true"#.to_owned(), true),
        (
            r#""warnings":["No StoreAPIs matched for this query"]"#.to_owned(),
            true,
        ),
        (
            r#""warnings":["receive series: rpc error"]"#.to_owned(),
            true,
        ),
        (
            format!(r#""warnings":[{annotation},"store is away"]"#),
            true,
        ),
        (many, true),
    ] {
        let body = format!(
            r#"{{"status":"success",{extra},"data":{{"resultType":"vector","result":[]}}}}"#
        );
        let answered = answer(200, &body).unwrap();
        assert_eq!(answered.partial.is_some(), partial, "{extra}");
        assert!(answered.notes.len() <= MAX_WARNINGS);
    }
}

#[test]
fn the_reason_of_a_server_is_passed_on_in_one_short_line() {
    for (status, body) in [
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"the\nreason"}"#,
        ),
        (
            422,
            r#"{"status":"error","errorType":"422","error":"the reason"}"#,
        ),
        (500, r#"{"status":"error","error":"the reason"}"#),
        (403, r#"{"message":"the reason"}"#),
        (403, r#"{"error":{"code":403,"message":"the reason"}}"#),
        (401, "the reason"),
    ] {
        let error = answer(status, body).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("the reason"), "{error}");
    }
    let long = "x".repeat(1_000_000);
    let body = format!(r#"{{"status":"error","errorType":"bad_data","error":"{long}"}}"#);
    let error = answer(400, &body).map(|_| ()).unwrap_err().to_string();
    assert!(error.len() < 1_000, "{}", error.len());
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    for body in [
        deep.clone(),
        format!(r#"{{"status":"success","data":{deep}}}"#),
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{deep}}}}}"#),
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"histogram":{deep}}}]}}}}"#
        ),
        format!(r#"{{"status":"error","error":{deep}}}"#),
        format!(r#"{{"status":"success","data":null,"trace":{deep}}}"#),
    ] {
        let _ = answer(200, &body).map(|answered| answered.data.into_series("q", 0));
    }
}

/// Generates JSON that resembles an answer.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("\"vector\"".to_owned()),
        Just("\"matrix\"".to_owned()),
        Just("\"scalar\"".to_owned()),
        Just("\"NaN\"".to_owned()),
        Just("1e999".to_owned()),
        Just("[]".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| format!("\"{number}\"")),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let key = prop::sample::select(vec![
            "data",
            "resultType",
            "result",
            "metric",
            "value",
            "values",
            "histogram",
            "histograms",
            "warnings",
            "infos",
            "isPartial",
            "error",
            "a",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key, inner), 0..5).prop_map(|fields| {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(status in 100u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(status, body).map(|answered| answered.data.into_series("q", 0));
    }

    #[test]
    fn answers_that_nearly_are_of_prometheus_never_panic(
        data in json(), extra in json(), name in "(warnings|infos|error|isPartial|message)", kind in "(vector|matrix|scalar|string)",
    ) {
        for body in [
            format!(r#"{{"status":"success","data":{data},"{name}":{extra}}}"#),
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{data}}}}}"#),
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{data}]}}}}"#),
        ] {
            let _ = answer(200, &body).map(|answered| answered.data.into_series("q", 0));
            let _ = answer(200, &body).map(|answered| answered.data.into_matrix("q"));
        }
    }
}
