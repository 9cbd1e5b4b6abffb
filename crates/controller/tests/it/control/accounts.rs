//! Logins, roles, scopes, tokens.

use futures_util::StreamExt as _;

use controller::control::{
    ADMINISTRATOR, AuditFilter, AuditLine, ControlError, NewToken, NewUser, Permission, Principal, Role, Scope,
};
use model::{Force, Millis};

use super::stage::{PASSWORD, REBOOT, Stage, options, quick};

fn forbidden<T: std::fmt::Debug>(result: Result<T, ControlError>) -> (Permission, bool) {
    match result {
        Err(ControlError::Forbidden { permission, outside_scope }) => (permission, outside_scope),
        other => panic!("{other:?}"),
    }
}

fn new_token(role: Role) -> NewToken {
    NewToken { name: "ci".to_owned(), role, may_force: false, scope: None, valid_for: None }
}

#[tokio::test]
async fn the_one_time_password_must_be_replaced_at_the_first_login() {
    let stage = Stage::new().await;
    let password = stage.one_time_password().unwrap();
    let login = |password: String, new: Option<&'static str>| {
        let control = stage.control.clone();
        async move { control.login("10.0.0.1", ADMINISTRATOR, &password, new).await }
    };
    assert_eq!(login(password.clone(), None).await.unwrap_err(), ControlError::PasswordChangeRequired);
    assert!(matches!(login(password.clone(), Some("short")).await, Err(ControlError::Invalid(_))));
    let logged_in = login(password.clone(), Some(PASSWORD)).await.unwrap();
    assert_eq!(logged_in.role, Role::Admin);
    assert_eq!(logged_in.permissions, Permission::ALL);
    assert_eq!(stage.one_time_password(), None, "the file is gone");
    assert!(matches!(login(password, None).await, Err(ControlError::Unauthenticated(_))));
    assert!(login(PASSWORD.to_owned(), None).await.is_ok());
}

#[tokio::test]
async fn wrong_passwords_are_audited_and_slowed_down() {
    let stage = Stage::new().await;
    stage.admin().await;
    let login = |peer: &'static str, password: &'static str| stage.control.login(peer, ADMINISTRATOR, password, None);
    for _ in 0..5 {
        assert!(matches!(login("10.0.0.9", "wrong password").await, Err(ControlError::Unauthenticated(_))));
    }
    // Even the right one is not looked at from there; from elsewhere it is.
    assert!(matches!(login("10.0.0.9", PASSWORD).await, Err(ControlError::TooManyAttempts { .. })));
    assert!(login("10.0.0.1", PASSWORD).await.is_ok());
    let unknown = stage.control.login("10.0.0.8", "nobody", "wrong password", None).await;
    assert_eq!(unknown.unwrap_err(), ControlError::Unauthenticated("wrong user name or password".to_owned()));
    let refused: Vec<_> = stage.audited("login").await.into_iter().filter(|line| !line.success).collect();
    assert!(refused.iter().any(|line| line.actor == "10.0.0.9"), "{refused:?}");
}

/// How many of these attempts were looked at.
async fn looked_at(stage: &Stage, attempts: Vec<(String, String)>) -> usize {
    let attempts: Vec<_> = attempts
        .into_iter()
        .map(|(user, password)| {
            let control = stage.control.clone();
            tokio::spawn(async move { control.login("10.0.0.9", &user, &password, None).await })
        })
        .collect();
    let mut looked_at = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Err(ControlError::Unauthenticated(_)) => looked_at += 1,
            Err(ControlError::TooManyAttempts { retry_after }) => assert!(retry_after <= Millis::secs(60)),
            other => panic!("{other:?}"),
        }
    }
    looked_at
}

#[tokio::test]
async fn many_attempts_at_once_are_slowed_down_like_one_after_the_other() {
    let stage = Stage::new().await;
    let attempts = (0..40).map(|n| (ADMINISTRATOR.to_owned(), format!("wrong password {n}"))).collect();
    assert_eq!(looked_at(&stage, attempts).await, 5);
}

/// Passwords that are too long are not hashed: names without end cost nothing, and must not make room for more attempts.
#[tokio::test]
async fn made_up_names_make_no_room_for_more_attempts() {
    let stage = Stage::new().await;
    let attempts = (0..12_000).map(|n| (format!("user{n}"), "x".repeat(2000))).collect();
    assert_eq!(looked_at(&stage, attempts).await, 100);
    let attempts = (0..10).map(|n| (ADMINISTRATOR.to_owned(), format!("wrong password {n}"))).collect();
    assert_eq!(looked_at(&stage, attempts).await, 0);
}

#[tokio::test]
async fn an_administrator_of_some_hosts_does_not_end_tokens_of_those_who_reach_further() {
    let stage = Stage::new().await;
    let (admin, scoped) = (stage.admin().await, stage.user("ada", Role::Admin, "site=a").await);
    let inner = stage.user("olga", Role::Operator, "site=a,role=web").await;
    let control = &stage.control;
    assert!(matches!(control.revoke_token(&scoped, admin.token.unwrap()).await, Err(ControlError::NotFound(_))));
    assert!(control.is_valid(&admin).await);
    assert!(stage.audited("token_revoked").await.iter().any(|line| !line.success && line.actor == "ada"));
    let seen: Vec<i64> = control.tokens(&scoped).await.unwrap().iter().map(|token| token.id).collect();
    assert!(
        seen.contains(&inner.token.unwrap()) && seen.contains(&scoped.token.unwrap()) && !seen.contains(&admin.token.unwrap()),
        "{seen:?}"
    );
    control.revoke_token(&scoped, inner.token.unwrap()).await.unwrap();
    assert!(!control.is_valid(&inner).await);
}

#[tokio::test]
async fn the_audit_log_ends_where_the_scope_does() {
    let stage = Stage::with(quick()).await;
    let (inner, outer) = (stage.device("db-1", &[("site", "a")]).await, stage.device("web-1", &[("site", "b")]).await);
    for device in [&inner, &outer] {
        stage.hello(device, device.report(1, &["a"])).await;
        stage.control.submit(&stage.admin().await, device.host, REBOOT, options()).await.unwrap();
    }
    let scoped = stage.user("ada", Role::Admin, "site=a").await;
    let token = stage.control.create_token(&scoped, new_token(Role::Admin)).await.unwrap();
    let scoped = stage.control.verify(&token.token).await.unwrap();
    let lines = stage.control.audit(&scoped, AuditFilter { limit: 500, ..AuditFilter::default() }).await.unwrap().items;
    let open = stage.control.orchestrations(&scoped, Default::default()).await.unwrap().items;
    assert_eq!(open.len(), 1);
    let own = |line: &AuditLine| {
        line.target == Some(inner.host) || line.orchestration == Some(open[0].id) || line.actor.starts_with("ada")
    };
    assert!(lines.iter().all(own), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.orchestration.is_some()) && lines.iter().any(|line| line.action == "token_created"),
        "{lines:?}"
    );
    let all =
        stage.control.audit(&stage.admin().await, AuditFilter { limit: 500, ..AuditFilter::default() }).await.unwrap().items;
    assert!(all.iter().any(|line| line.target == Some(outer.host)));
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_it_was_asked_for_with() {
    let stage = Stage::with(quick()).await;
    let web = stage.device("web-1", &[]).await;
    stage.hello(&web, web.report(1, &["a"])).await;
    let operator = stage.user("olga", Role::Operator, "*").await;
    let (id, _) = stage.control.submit(&operator, web.host, REBOOT, options()).await.unwrap();
    let mut stream = stage.control.watch(&operator, id, None).await.unwrap();
    assert!(stream.next().await.is_some());
    stage.control.delete_user(&stage.admin().await, "olga").await.unwrap();
    stage.control.cancel(&stage.admin().await, id).await.unwrap();
    let next = tokio::time::timeout(super::stage::PATIENCE, stream.next()).await.expect("the stream goes on");
    assert_eq!(next, None);
}

#[tokio::test]
async fn a_missing_role_and_a_foreign_scope_are_refused_and_audited() {
    let stage = Stage::with(quick()).await;
    let web = stage.device("web-1", &[("role", "web")]).await;
    stage.hello(&web, web.report(1, &["a"])).await;
    let viewer = stage.user("vera", Role::Viewer, "*").await;
    let operator = stage.user("olga", Role::Operator, "role=db").await;
    let submit = async |who: &Principal| stage.control.submit(who, web.host, REBOOT, options()).await;
    assert_eq!(forbidden(submit(&viewer).await), (Permission::RebootHost, false));
    assert_eq!(forbidden(submit(&operator).await), (Permission::RebootHost, true));
    let lines = stage.audited("REBOOT_HOST").await;
    assert!(lines.iter().all(|line| !line.success && line.target == Some(web.host)), "{lines:?}");
    assert_eq!(stage.control.select(&operator, None).await.unwrap(), []);
    assert!(matches!(stage.control.select(&operator, Some("web-1")).await, Err(ControlError::NotFound(_))));

    let right = stage.user("otto", Role::Operator, "role=web").await;
    let forced = model::Options { force: Some(Force { reason: "because".to_owned() }), ..options() };
    let forced = stage.control.submit(&right, web.host, REBOOT, forced).await;
    assert_eq!(forbidden(forced), (Permission::Force, false));
    let (id, children) = submit(&right).await.unwrap();
    assert_eq!(children, 1);
    assert_eq!(forbidden(stage.control.cancel(&viewer, id).await), (Permission::RebootHost, false));
    assert!(matches!(stage.control.cancel(&operator, id).await, Err(ControlError::NotFound(_))));
    assert!(stage.control.orchestrations(&operator, Default::default()).await.unwrap().items.is_empty());
    stage.control.cancel(&right, id).await.unwrap();
}

#[tokio::test]
async fn a_token_can_do_at_most_what_its_maker_can_and_ends_when_revoked() {
    let stage = Stage::new().await;
    let operator = stage.user("olga", Role::Operator, "role=db").await;
    let control = &stage.control;
    assert_eq!(forbidden(control.create_token(&operator, new_token(Role::Admin)).await).0, Permission::ManageAccess);
    let forcing = NewToken { may_force: true, ..new_token(Role::Operator) };
    assert_eq!(forbidden(control.create_token(&operator, forcing).await).0, Permission::Force);
    let wide = NewToken { scope: Some(Scope::all()), ..new_token(Role::Operator) };
    assert_eq!(forbidden(control.create_token(&operator, wide).await), (Permission::ManageAccess, true));

    let made = control.create_token(&operator, new_token(Role::Viewer)).await.unwrap();
    let shown = control.verify(&made.token).await.unwrap();
    assert_eq!((shown.name.as_str(), shown.role, shown.scope.to_string().as_str()), ("olga/ci", Role::Viewer, "role=db"));
    assert!(matches!(control.create_token(&operator, new_token(Role::Viewer)).await, Err(ControlError::Conflict(_))));
    assert!(control.create_token(&shown, NewToken { name: "more".to_owned(), ..new_token(Role::Viewer) }).await.is_err());

    let other = stage.user("otto", Role::Operator, "*").await;
    assert!(matches!(control.revoke_token(&other, made.id).await, Err(ControlError::NotFound(_))));
    control.revoke_token(&operator, made.id).await.unwrap();
    assert!(matches!(control.verify(&made.token).await, Err(ControlError::Unauthenticated(_))));
}

#[tokio::test]
async fn tokens_expire_and_go_with_their_user() {
    let stage = Stage::new().await;
    let operator = stage.user("olga", Role::Operator, "*").await;
    let control = &stage.control;
    let short = NewToken { valid_for: Some(Millis(1)), ..new_token(Role::Operator) };
    let short = control.create_token(&operator, short).await.unwrap();
    super::stage::eventually(async || control.verify(&short.token).await.is_err().then_some(())).await;
    let long = NewToken { name: "long".to_owned(), ..new_token(Role::Operator) };
    let long = control.create_token(&operator, long).await.unwrap();
    control.verify(&long.token).await.unwrap();
    control.delete_user(&stage.admin().await, "olga").await.unwrap();
    assert!(matches!(control.verify(&long.token).await, Err(ControlError::Unauthenticated(_))));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    assert!(matches!(stage.control.delete_user(&admin, ADMINISTRATOR).await, Err(ControlError::Conflict(_))));
    let second = NewUser { name: "ada".to_owned(), role: Role::Admin, may_force: false, scope: Scope::all() };
    stage.control.create_user(&admin, second.clone()).await.unwrap();
    assert!(matches!(stage.control.create_user(&admin, second).await, Err(ControlError::Conflict(_))));
    stage.control.delete_user(&admin, ADMINISTRATOR).await.unwrap();
}

#[tokio::test]
async fn nonsense_is_no_token() {
    let stage = Stage::new().await;
    for token in ["", "rvl", "rvls_00", &"rvls_".repeat(1000), "Bearer x"] {
        assert!(matches!(stage.control.verify(token).await, Err(ControlError::Unauthenticated(_))), "{token}");
    }
}
