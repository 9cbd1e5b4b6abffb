//! The examples of the guide, over stand-ins for the tools: `kubectl` and `nomad` that keep what they are told in files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use model::{Drain, ErrorCode, ItemState};

use crate::own::{LONG, back, end, error, items, out, site};

const KUBECTL: &str = r#"case "$1 $2" in
"get node") printf '%s/%s' "$(cat "$DIR/mark" 2>/dev/null)" "$(cat "$DIR/unschedulable" 2>/dev/null)" ;;
"drain $NODE") printf true > "$DIR/unschedulable"; shift 2; echo "$*" >> "$DIR/asked"; [ ! -e "$DIR/stuck" ] || case "$*" in *--force*) ;; *) exit 1 ;; esac ;;
"uncordon $NODE") rm -f "$DIR/unschedulable" ;;
"annotate node") case "$*" in *=yes) printf yes > "$DIR/mark" ;; *-) rm -f "$DIR/mark" ;; esac ;;
*) exit 64 ;;
esac"#;

const NOMAD: &str = r#"case "$1 $2 $3" in
"node status -t") printf 'id-1 %s %s ' "$(cat "$DIR/eligible" 2>/dev/null || echo eligible)" "$([ -e "$DIR/draining" ] && echo true || echo false)" ;;
"node meta read") cat "$DIR/mark" 2>/dev/null || true ;;
"node meta apply") case "$*" in *=yes) printf yes > "$DIR/mark" ;; *"-unset reveille_drained") rm -f "$DIR/mark" ;; esac ;;
"node drain -enable") echo ineligible > "$DIR/eligible"; echo "$*" >> "$DIR/asked"; [ ! -e "$DIR/stuck" ] || case "$*" in *-force*) ;; *) touch "$DIR/draining"; exit 1 ;; esac; rm -f "$DIR/draining" ;;
"node drain -disable") rm -f "$DIR/draining" ;;
"node eligibility -enable") echo eligible > "$DIR/eligible" ;;
*) exit 64 ;;
esac"#;

fn drain(dir: &Path, tool: &str, script: &str, example: &str) -> Drain {
    let path = dir.join(tool);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/examples").join(example);
    let words = |verb: &str| {
        let path = format!("PATH={}:/usr/bin:/bin", dir.display());
        let own = [path, format!("DIR={}", dir.display()), "NODE=web-1".to_owned(), "sh".to_owned()];
        let call = [example.display().to_string(), verb.to_owned(), "web-1".to_owned()];
        ["env".to_owned()].into_iter().chain(own).chain(call).collect::<Vec<_>>()
    };
    Drain::Command { state: words("state"), drain: words("drain"), undrain: words("undrain") }
}

/// Out and back from each state in which a person may have left it; and what happens when it does not drain.
async fn goes_out_and_back(tool: &str, script: &str, example: &str, states: [(&str, &[(&str, &str)]); 2]) {
    let site = site();
    for (word, files) in states {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let drain = drain(dir.path(), tool, script, example);
        let item = |state: &str, in_service: bool| vec![ItemState { name: "web-1".into(), state: state.into(), in_service }];
        let prior = items(&end(&site, model::Action::Observe { drain: drain.clone() }).await);
        assert_eq!(prior, item(word, true), "{tool}");
        assert_eq!(items(&end(&site, out(&drain, LONG)).await), item("drained", false), "{tool}: {word}");
        assert_eq!(items(&end(&site, back(&drain, &prior, LONG)).await), prior, "{tool}: exactly as it was");

        std::fs::write(dir.path().join("stuck"), "").unwrap();
        assert_eq!(error(&end(&site, out(&drain, LONG)).await).0, ErrorCode::NotDrained, "{tool}: {word}");
        assert_eq!(items(&end(&site, back(&drain, &prior, LONG)).await), prior, "{tool}: taken back");
        let model::Action::Drain { drain, grace, .. } = out(&drain, LONG) else { unreachable!() };
        let forced = model::Action::Drain { drain, grace, force: true };
        assert_eq!(items(&end(&site, forced).await), item("drained", false), "{tool}: forced");
    }
}

/// What was marked as drained and has been put to work since, by a crash or by a person, is in service, and is drained anew.
async fn a_stale_mark_says_nothing(tool: &str, script: &str, example: &str, works: &str, out_again: (&str, &str)) {
    let site = site();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mark"), "yes").unwrap();
    let drain = drain(dir.path(), tool, script, example);
    let item = |state: &str, in_service: bool| vec![ItemState { name: "web-1".into(), state: state.into(), in_service }];
    let look = async || items(&end(&site, model::Action::Observe { drain: drain.clone() }).await);
    assert_eq!(look().await, item(works, true), "{tool}");
    // A person takes it out of service, with all that runs there.
    std::fs::write(dir.path().join(out_again.0), out_again.1).unwrap();
    assert!(look().await[0].in_service, "{tool}");
    assert_eq!(items(&end(&site, out(&drain, LONG)).await), item("drained", false), "{tool}");
    assert!(dir.path().join("asked").exists(), "{tool}: it was drained");
}

#[tokio::test]
async fn g7_a_stale_mark_of_the_examples_lets_no_node_be_rebooted_with_its_work() {
    a_stale_mark_says_nothing("kubectl", KUBECTL, "kubernetes.sh", "schedulable", ("unschedulable", "true")).await;
    a_stale_mark_says_nothing("nomad", NOMAD, "nomad.sh", "eligible", ("eligible", "ineligible")).await;
}

#[tokio::test]
async fn the_kubernetes_example_puts_back_what_it_took_and_leaves_a_persons_cordon() {
    let states: [(&str, &[(&str, &str)]); 2] = [("schedulable", &[]), ("cordoned", &[("unschedulable", "true")])];
    goes_out_and_back("kubectl", KUBECTL, "kubernetes.sh", states).await;
}

#[tokio::test]
async fn the_nomad_example_puts_back_what_it_took_and_leaves_a_persons_word() {
    let states: [(&str, &[(&str, &str)]); 2] = [("eligible", &[]), ("ineligible", &[("eligible", "ineligible")])];
    goes_out_and_back("nomad", NOMAD, "nomad.sh", states).await;
}
