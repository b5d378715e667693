//! Runs the corpus of tests/data/http: whole, byte by byte, and after a good request.

mod common;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use common::{Transcript, serve, single};
use http1::Policy;
use toml::{Table, Value};

struct Case {
    name: String,
    request: Vec<u8>,
    status: i64,
    refusal: Option<String>,
    body: Vec<u8>,
    keep_alive: bool,
}

const GOOD: &[u8] = b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";

/// Returns the octets of a text, each character of which stands for one octet.
fn octets(text: &str) -> Vec<u8> {
    text.chars()
        .map(|one| u8::try_from(one).expect("octets only"))
        .collect()
}

fn request(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => octets(text),
        Value::Array(parts) => parts.iter().flat_map(request).collect(),
        Value::Table(run) => {
            let times = run["times"].as_integer().expect("a number of times");
            octets(run["repeat"].as_str().expect("a text")).repeat(times as usize)
        }
        other => panic!("a request in {other:?}"),
    }
}

fn case(table: &Table) -> Case {
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    Case {
        name: text("name").expect("a name").to_owned(),
        request: request(&table["request"]),
        status: table["status"].as_integer().expect("a status"),
        refusal: text("refusal").map(str::to_owned),
        body: text("body").map(octets).unwrap_or_default(),
        keep_alive: table
            .get("keep_alive")
            .and_then(Value::as_bool)
            .unwrap_or(true),
    }
}

fn corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/http");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let table: Table = fs::read_to_string(&path)
                .expect("a file")
                .parse()
                .expect("TOML");
            let tables = table["case"].as_array().expect("a list of cases");
            cases.extend(
                tables
                    .iter()
                    .map(|one| case(one.as_table().expect("a table"))),
            );
        }
    }
    let names: HashSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
    assert!(cases.len() > 100, "the corpus is there");
    cases
}

/// Compare the transcript of a case with the expected one; `before` good requests came ahead of it.
fn check(case: &Case, transcript: &Transcript, before: usize) {
    let name = &case.name;
    let refusal = transcript.refusal.map(|refusal| format!("{refusal:?}"));
    assert_eq!(refusal, case.refusal, "{name}: {transcript:?}");
    assert!(
        transcript.requests.len() <= before + 1,
        "{name}: one request, {transcript:?}"
    );
    assert!(
        transcript.requests[..before]
            .iter()
            .all(|one| one.whole && one.body == b"ok")
    );
    if let Some(refusal) = transcript.refusal {
        assert_eq!(i64::from(refusal.status()), case.status, "{name}");
        assert!(
            transcript.requests[before..].iter().all(|one| !one.whole),
            "{name}"
        );
    } else {
        assert_eq!(case.status, 200, "{name}: a good request has status 200");
        let request = &transcript.requests[before];
        assert!(
            request.whole && transcript.left == 0,
            "{name}: {transcript:?}"
        );
        assert_eq!(request.body, case.body, "{name}");
        assert_eq!(request.keep_alive, case.keep_alive, "{name}");
    }
}

#[test]
fn whole() {
    for case in corpus() {
        check(&case, &serve([&case.request[..]], &Policy::default()), 0);
    }
}

#[test]
fn byte_by_byte() {
    for case in corpus() {
        check(&case, &serve(single(&case.request), &Policy::default()), 0);
    }
}

#[test]
fn behind_a_good_request() {
    for case in corpus() {
        // A good request is followed by no empty line of its own.
        let input = [GOOD, &case.request].concat();
        check(&case, &serve([&input[..]], &Policy::default()), 1);
        check(&case, &serve(single(&input), &Policy::default()), 1);
    }
}

#[test]
fn nothing_is_served_behind_a_refusal() {
    for case in corpus().into_iter().filter(|case| case.refusal.is_some()) {
        let input = [&case.request, GOOD].concat();
        let transcript = serve([&input[..]], &Policy::default());
        assert!(transcript.refusal.is_some(), "{}", case.name);
        assert!(
            transcript.requests.iter().all(|one| !one.whole),
            "{}",
            case.name
        );
    }
}
