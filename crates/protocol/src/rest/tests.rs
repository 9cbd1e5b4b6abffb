use super::*;

/// The field lists of S0's three documents, by its own examples.
#[test]
fn s0_documents_have_exactly_the_fields_of_their_examples() {
    fn same<T: Serialize + serde::de::DeserializeOwned>(sample: &str) {
        let value: serde_json::Value = serde_json::from_str(sample).unwrap();
        let typed: T = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), value);
    }
    same::<RebootPreCheck>(include_str!("../../samples/rest/pre-check.json"));
    same::<OrchestratedRebootStarted>(include_str!("../../samples/rest/started.json"));
    same::<RebootOrchestration>(include_str!("../../samples/rest/orchestration.json"));
    same::<RebootOrchestration>(include_str!("../../samples/rest/orchestration-live.json"));
    same::<Problem>(include_str!("../../samples/rest/problem.json"));
}

#[test]
fn a_problem_carries_its_extension_members_at_the_top() {
    let problem = Problem::new(409, "Conflict", "host web-1 is taken").with("orchestration_id", "x");
    let value = serde_json::to_value(&problem).unwrap();
    assert_eq!(value["orchestration_id"], "x");
    assert_eq!(value["type"], "about:blank");
    assert!(value.get("instance").is_none());
    assert_eq!(serde_json::from_value::<Problem>(value).unwrap(), problem);
}
