//! The OpenAPI document: complete, and with a right named by every operation.

use std::collections::{BTreeMap, BTreeSet};

use controller::api::{Need, document};
use controller::control::Permission;
use serde_json::Value;

fn value() -> Value {
    serde_json::to_value(document()).unwrap()
}

/// Every operation as `GET /path` with its object.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_ascii_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn every_operation_names_the_right_that_it_needs() {
    let document = value();
    let mut public = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let need = Need::read(&operation).unwrap_or_else(|| panic!("{method} {path} names no right that is understood"));
        if need == Need::Public {
            public.insert(format!("{method} {path}"));
        }
        // What changes something needs a permission, or is about the caller's own access.
        let own = ["/api/v1/logout", "/api/v1/password", "/api/v1/tokens", "/api/v1/tokens/{token_id}"];
        if method != "GET" && need == Need::Token {
            assert!(own.contains(&path.as_str()), "{method} {path} changes something for anybody with a token");
        }
        if method != "GET" {
            assert_ne!(need, Need::Permission(Permission::ViewHosts), "{method} {path}");
        }
    }
    let expected = [
        "GET /api/openapi.json",
        "GET /api/v1/version",
        "GET /healthz",
        "GET /readyz",
        "POST /api/v1/enrol",
        "POST /api/v1/login",
    ];
    assert_eq!(public, expected.map(str::to_owned).into(), "the public routes");
}

#[test]
fn operation_ids_are_unique_and_errors_are_problems() {
    let document = value();
    assert_eq!(document["openapi"], "3.1.0");
    let mut seen = BTreeMap::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert_eq!(seen.insert(id.clone(), path.clone()), None, "{id} stands at {method} {path} and elsewhere");
        for (status, response) in operation["responses"].as_object().unwrap() {
            if status.starts_with(['4', '5']) {
                let kinds: Vec<&String> = response["content"].as_object().unwrap().keys().collect();
                assert_eq!(kinds, ["application/problem+json"], "{method} {path} {status}");
            }
        }
    }
}

/// S0-18: exactly three endpoints of S0, each under `/api` and `/api/v1` (ruling 4).
#[test]
fn s0_18_exactly_three_endpoints() {
    let document = value();
    let s0 = |prefix: &str| -> BTreeSet<String> {
        let all = operations(&document).into_iter();
        all.filter_map(|(method, path, _)| path.strip_prefix(prefix).map(|rest| format!("{method} {rest}"))).collect()
    };
    let three = [
        "GET /host/{host_id}/reboot/pre-check",
        "POST /host/{host_id}/reboot/orchestrated",
        "GET /host/{host_id}/reboot/orchestration/{orchestration_id}",
    ];
    let under_api: BTreeSet<String> = s0("/api").into_iter().filter(|one| one.contains(" /host/")).collect();
    assert_eq!(under_api, three.map(str::to_owned).into());
    assert!(three.iter().all(|one| s0("/api/v1").contains(*one)));
}

#[test]
fn the_document_is_as_it_was() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&value()).unwrap());
}
