use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use model::{Check, CheckResult};

use super::super::{checks, checks_here};
use super::*;
use crate::HOOKS_DIR;
use crate::testing::{drive, really};

fn check(kind: CheckKind) -> [Check; 1] {
    [Check { name: "it".into(), kind, limit: Millis::secs(3) }]
}

fn made(kind: CheckKind) -> (bool, String) {
    let results = really(checks_here(HOOKS_DIR, &check(kind)), &["sh".to_owned()], "/nowhere");
    let [CheckResult { passed, detail, .. }] = &results[..] else { panic!("{results:?}") };
    (*passed, detail.clone())
}

/// Answers everybody with this.
fn serve(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(answer));
        }
    });
    port
}

fn get(port: u16, status: u16, contains: Option<&str>) -> (bool, String) {
    made(CheckKind::Http { url: format!("http://127.0.0.1:{port}/health"), status, contains: contains.map(str::to_owned) })
}

#[test]
fn s3_74_75_an_answer_over_http_has_its_status_and_its_body() {
    let port = serve(b"HTTP/1.0 200 OK\r\n\r\n{\n  \"status\" : \"healthy\", \"n\": {\"status\": \"x\"} }");
    assert_eq!(get(port, 200, None), (true, format!("http://127.0.0.1:{port}/health answers 200")));
    assert!(get(port, 200, Some("healthy")).0);
    assert!(get(port, 200, Some("{ \"status\": \"healthy\" }")).0, "spaces do not matter");
    assert!(get(port, 200, Some("{\"status\":\"healthy\",\"n\":{\"status\":\"x\"}}")).0);
    let (passed, detail) = get(port, 200, Some("{\"status\":\"x\"}"));
    assert!(!passed && detail.contains("\"status\" in its body is not \"x\""), "{detail}");
    assert!(get(port, 200, Some("{\"other\":1}")).1.contains("has no \"other\""));
    assert!(!get(port, 200, Some("sick")).0);
    assert_eq!(get(port, 204, None), (false, format!("http://127.0.0.1:{port}/health answers 200, expected 204")));
    let port = serve(b"HTTP/1.0 503 No\r\n\r\n{\"status\":\"healthy\"}");
    assert!(!get(port, 200, None).0 && get(port, 503, None).0);
    let port = serve(b"HTTP/1.0 302 Found\r\nLocation: /other\r\n\r\n");
    assert!(get(port, 302, None).0, "redirects are not followed");
    assert!(get(port, 302, Some("{}")).1.contains("no JSON object"));
    // An answer that does not come to its end is none.
    let port = serve(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    assert!(!get(port, 200, None).0);
}

#[test]
fn of_a_long_body_the_first_part_is_read() {
    let body = |mark: usize| {
        let mut text = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        text.extend(vec![b'x'; mark]);
        text.extend(b"MARK");
        text.extend(vec![b'x'; 400_000]);
        &*text.leak()
    };
    assert!(get(serve(body(60_000)), 200, Some("MARK")).0);
    assert!(!get(serve(body(70_000)), 200, Some("MARK")).0);
    // It has an end for whoever closes it alone.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        drop(stream.read(&mut [0; 4096]));
        drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nMARK"));
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert!(get(port, 200, Some("MARK")).0, "it is closed to curl, which says so");
}

#[test]
fn a_connection_can_be_opened_or_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = |address: String| made(CheckKind::Tcp { address });
    assert_eq!(tcp(format!("127.0.0.1:{port}")), (true, format!("127.0.0.1:{port} takes connections")));
    drop(listener);
    let (passed, detail) = tcp(format!("127.0.0.1:{port}"));
    assert!(!passed && detail.contains("refused"), "{detail}");
    let (passed, detail) = get(port, 200, None);
    assert!(!passed && detail.contains("(curl 7)"), "{detail}");
    for bad in ["x", "x:0", "x:99999", ":80", "-x:80", "$(id):80", "a/b:80"] {
        let (passed, detail) = tcp(bad.into());
        assert!(!passed && detail.contains("no HOST:PORT"), "{bad}: {detail}");
    }
    for bad in ["ftp://x", "x", "http://x y", "file:///etc/passwd"] {
        let (passed, detail) = made(CheckKind::Http { url: bad.into(), status: 200, contains: None });
        assert!(!passed && detail.contains("no http:// or https://"), "{bad}: {detail}");
    }
}

#[test]
fn a_tool_that_is_missing_is_named_and_rollouts_make_these_checks_elsewhere() {
    let with = |output: Output| {
        move |kind: CheckKind| drive(checks_here(HOOKS_DIR, &check(kind)), |_, _| (output.clone(), Millis(1))).1[0].clone()
    };
    let http = CheckKind::Http { url: "http://localhost/".into(), status: 200, contains: None };
    let tcp = CheckKind::Tcp { address: "localhost:80".into() };
    let none = Output { exit: Some(127), stderr: "bash: not found".into(), ..Output::default() };
    let result = with(none)(tcp.clone());
    assert!(!result.passed && result.detail.contains("install bash"), "{result:?}");
    let none = Output { exit: Some(127), stderr: "curl: not found\n".into(), ..Output::default() };
    let result = with(none)(http.clone());
    assert!(!result.passed && result.detail.contains("install curl"), "{result:?}");
    let good = "REVEILLE status=200 .\n";
    for (exit, stderr, passes) in [
        (Some(0), good, true),
        (Some(23), good, true),
        (Some(0), "", false),
        (None, good, false),
        (Some(0), "REVEILLE status=000 .", false),
        (Some(0), "REVEILLE status=200", false),
        (Some(18), good, false),
    ] {
        let result = with(Output { exit, stderr: stderr.into(), ..Output::default() })(http.clone());
        assert_eq!(result.passed, passes, "{exit:?} {stderr}: {result:?}");
    }
    for kind in [http, tcp] {
        let result = drive(checks(HOOKS_DIR, &check(kind)), |line, _| panic!("{line}")).1[0].clone();
        assert!(!result.passed && result.detail.contains("where the engine runs"), "{result:?}");
    }
}
