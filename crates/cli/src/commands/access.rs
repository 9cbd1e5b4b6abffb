//! Login, tokens, the audit log.

use std::path::Path;

use protocol::rest::access::{LoginRequest, TokenRequest};

use crate::args::{Audit, Global, Login, Output, Tokens};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::{self, Session};
use crate::{render, terminal, trust};

pub(super) async fn login(global: &Global, args: Login) -> Result<Exit, CliError> {
    let server = args.url.trim_end_matches('/').to_owned();
    let ca_pem = match &global.ca {
        Some(path) => session::read_ca(path)?,
        None => trusted_ca(&server, args.ca_fingerprint.as_deref()).await?,
    };
    let client = Client::anonymous(&server, &ca_pem)?;
    let prompt = format!("Password of {} at {server}", args.user);
    let password = ask(args.password_file.as_deref(), &prompt, "--password-file")?;
    let new_password = match &args.new_password_file {
        Some(path) => Some(ask(Some(path), "New password", "--new-password-file")?),
        None => None,
    };
    let mut request = LoginRequest { user: args.user, password, new_password };
    let session = match client.login(&request).await {
        Err(error) if error.code.as_deref() == Some("password_change_required") && request.new_password.is_none() => {
            eprintln!("This password is good for one login only.");
            let new = ask(None, "New password", "--new-password-file")?;
            if new != ask(None, "The same again", "--new-password-file")? {
                return Err(CliError::usage("the two passwords differ").hint("log in again"));
            }
            request.new_password = Some(new);
            client.login(&request).await?
        }
        other => other?,
    };
    let path = session::path()?;
    Session { server: server.clone(), ca_pem, user: session.user.clone(), token: session.token.clone() }.store(&path)?;
    let document = serde_json::json!({
        "server": server, "user": session.user, "role": session.role, "permissions": session.permissions,
        "expires_at": session.expires_at,
    });
    terminal::answer(global.output, &document, || {
        format!("Logged in to {server} as {} ({}), until {}.\n", session.user, session.role, render::time(session.expires_at))
    })?;
    Ok(Exit::Done)
}

fn ask(file: Option<&Path>, prompt: &str, option: &str) -> Result<String, CliError> {
    tokio::task::block_in_place(|| terminal::password(file, prompt, option))
}

/// The CA that the server shows, if somebody vouches for its fingerprint, or if it is the one of the last login.
async fn trusted_ca(server: &str, expected: Option<&str>) -> Result<String, CliError> {
    let der = trust::look_at_ca(server).await?;
    let shown = trust::fingerprint(&der);
    let pem = trust::to_pem(&der);
    if let Some(expected) = expected {
        if trust::same_fingerprint(expected, &shown) {
            return Ok(pem);
        }
        return Err(CliError::new(Exit::Unavailable, format!("{server} shows a CA with another fingerprint: {shown}"))
            .hint("this may be another server, or somebody in between: do not give it a password"));
    }
    if let Ok(Some(stored)) = Session::stored()
        && stored.server == server
        && stored.ca_pem.trim() == pem.trim()
    {
        return Ok(pem);
    }
    eprintln!("{server} is not known yet. Its CA has the fingerprint\n  {shown}");
    let instead = "give --ca-fingerprint FINGERPRINT (the server shows it at its start), or --ca FILE";
    let question = "Is this the fingerprint that the server shows at its start?";
    tokio::task::block_in_place(|| terminal::confirm(question, instead))?;
    Ok(pem)
}

pub(super) async fn logout(global: &Global) -> Result<Exit, CliError> {
    let client = Client::new(&Session::find(global)?)?;
    // A token that is not good any more is as ended as can be.
    if let Err(error) = client.logout().await
        && error.exit != Exit::Unauthorised
    {
        return Err(error.hint("the token is still good and was kept; try again when the server can be reached"));
    }
    Session::forget()?;
    terminal::answer(global.output, &serde_json::json!({ "logged_out": true }), || "Logged out.\n".to_owned())?;
    Ok(Exit::Done)
}

pub(super) async fn audit(client: &Client, output: Output, args: Audit) -> Result<Exit, CliError> {
    if !(1..=500).contains(&args.limit) {
        return Err(CliError::usage(format!("--limit is {}: give 1 to 500", args.limit)));
    }
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.actor.map(|actor| ("actor", actor)));
    query.extend(args.action.map(|action| ("action", action)));
    query.extend(args.orchestration.map(|id| ("orchestration", id.to_string())));
    query.extend(args.before.map(|before| ("before", before.to_string())));
    let page = client.audit(query).await?;
    terminal::answer(output, &page, || render::tables::audit(&page))?;
    Ok(Exit::Done)
}

pub(super) async fn tokens(client: &Client, output: Output, command: Tokens) -> Result<Exit, CliError> {
    match command {
        Tokens::List => {
            let list = client.tokens().await?;
            terminal::answer(output, &list, || render::tables::tokens(&list))?;
        }
        Tokens::Create { name, role, may_force, scope, expires_in_secs } => {
            let request = TokenRequest { name, role, may_force, scope, expires_in_seconds: expires_in_secs };
            let made = client.create_token(&request).await?;
            terminal::answer(output, &made, || {
                let until = render::time(made.expires_at);
                format!("{}\n\nToken {}, good until {until}. It is not shown again.\n", made.token, made.id)
            })?;
        }
        Tokens::Revoke { id } => {
            client.revoke_token(id).await?;
            terminal::answer(output, &serde_json::json!({ "revoked": id }), || format!("Token {id} is revoked.\n"))?;
        }
    }
    Ok(Exit::Done)
}
