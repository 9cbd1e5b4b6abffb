//! What other programs can call (S3-37 to S3-46): a rolling restart of the services of this machine, as `reveille restart` does it.

use std::path::PathBuf;

use protocol::rest::services::NewServiceRestart;

use crate::aim::Aim;
use crate::args::THIS_MACHINE;
use crate::args::{ClientCommand, Global, Here, Listed, Output, Restart};
use crate::commands::restart;
use crate::error::CliError;
use crate::way::Way;
use crate::{follow, restarted};

/// What is restarted, and how. The default restarts all services of `./reveille.toml`, or else of `/etc/reveille/reveille.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartOptions {
    /// Where services are listed, instead of in one of those.
    pub manifest: Option<PathBuf>,
    /// Where the journal is kept, instead of in `$XDG_STATE_HOME/reveille`. One process at a time uses it.
    pub state_dir: Option<PathBuf>,
    /// Only these services; all when it is empty.
    pub services: Vec<String>,
    /// Only say in which order it would be done (S3-42).
    pub dry_run: bool,
    /// Make no health check, for this reason, which is written down (S3-43). For emergencies.
    pub force: Option<String>,
    /// Run no migration (S3-44).
    pub skip_migrations: bool,
    /// Bring a new tree to each service that says where its own goes, before it is restarted (S3-45).
    pub deploy_code: bool,
    /// The new tree of the one service that is named, or of several the folder that holds a folder for each (S3-46); needs
    /// `deploy_code`.
    pub deploy_path: Option<PathBuf>,
    /// So many at once: `None` is one after the other, 0 as many as the dependencies allow.
    pub parallel: Option<u32>,
    /// After a failure go on with what does not depend on the failed service.
    pub keep_going: bool,
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartResult {
    /// All of them run anew and are proven to be well; of a dry run: nothing would keep it from starting (S3-38).
    pub success: bool,
    /// Names of the services that were restarted or reloaded (S3-39).
    pub services_restarted: Vec<String>,
    /// Names of those that failed, rolled back or not (S3-40).
    pub services_failed: Vec<String>,
    /// Names of those that were not begun, or taken back because it was cancelled.
    pub services_skipped: Vec<String>,
    /// All of them, in the order in which they are gone through.
    pub order: Vec<String>,
    /// Why services failed or were left alone, each with its name.
    pub reasons: Vec<String>,
    /// Under which id it is in the journal: `reveille orchestrations` lists it. `None` of a dry run.
    pub orchestration: Option<String>,
}

/// Why nothing is known of how it went, or nothing was begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct RestartError {
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// What `reveille restart` would have ended with.
    pub exit_code: u8,
}

impl From<CliError> for RestartError {
    fn from(error: CliError) -> Self {
        Self { exit_code: error.exit.code(), message: error.message, hint: error.hint }
    }
}

/// Restarts services of this machine in the order of their dependencies, each proven to be well before the next one; what does not
/// come back well is rolled back. A service that fails is no error: the result says so.
///
/// It needs the rights of root, or `sudo` without a password. When the future is dropped, or the process killed, nothing is lost:
/// `reveille resume` goes on from the journal, and `reveille resume --unwind` takes back what is half done.
///
/// ```no_run
/// # async fn f() -> Result<(), reveille::RestartError> {
/// let result = reveille::rolling_restart(reveille::RestartOptions::default()).await?;
/// if result.success {
///     println!("restarted {} services", result.services_restarted.len());
/// } else {
///     eprintln!("failed services: {}", result.services_failed.join(", "));
/// }
/// # Ok(())
/// # }
/// ```
///
/// What would be done can be asked first:
///
/// ```no_run
/// # async fn f() -> Result<(), reveille::RestartError> {
/// let options = reveille::RestartOptions { dry_run: true, ..Default::default() };
/// println!("{}", reveille::rolling_restart(options).await?.order.join(", "));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`RestartError`]: the manifest or an option is wrong, something blocks it, or another process uses the state directory; nothing
/// was begun then.
pub async fn rolling_restart(options: RestartOptions) -> Result<RestartResult, RestartError> {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
    let global = Global {
        typed: Vec::new(),
        server: None,
        ca: None,
        output: Output::Json,
        log: None,
        here: Here { state_dir: options.state_dir, ..Here::default() },
    };
    let mut args = Restart {
        listed: Listed { manifest: options.manifest, hosts: vec![THIS_MACHINE.to_owned()] },
        services: options.services,
        dry_run: options.dry_run,
        force: options.force,
        skip_migrations: options.skip_migrations,
        deploy: options.deploy_code,
        deploy_path: options.deploy_path,
        parallel: options.parallel,
        keep_going: options.keep_going,
        yes: true,
        detach: false,
    };
    let request = restart::request(&mut args, Aim::Here, false)?;
    let dry_run = args.dry_run;
    let way = Way::open(&global, &ClientCommand::Restart(args), Aim::Here).await?;
    let done = perform(&way, &request, dry_run).await;
    let closed = way.close().await;
    let result = done?;
    closed?;
    Ok(result)
}

/// Restarts one service of this machine, and says whether it is proven to be well (S3-41).
///
/// ```no_run
/// # async fn f() -> Result<(), reveille::RestartError> {
/// let options = reveille::RestartOptions {
///     deploy_code: true,
///     deploy_path: Some("/tmp/deploy/sso-api".into()),
///     ..Default::default()
/// };
/// let well = reveille::restart_service("sso.api", options).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`rolling_restart`].
pub async fn restart_service(name: &str, options: RestartOptions) -> Result<bool, RestartError> {
    let options = RestartOptions { services: vec![name.to_owned()], ..options };
    Ok(rolling_restart(options).await?.success)
}

async fn perform(way: &Way, request: &NewServiceRestart, dry_run: bool) -> Result<RestartResult, CliError> {
    let client = way.client();
    let preview = client.preview_services(request).await?;
    let order = preview.services.iter().map(|service| service.service.clone()).collect();
    let blocked = restart::blocked(&preview, Output::Json);
    if dry_run {
        return Ok(RestartResult { success: blocked.is_none(), order, ..RestartResult::default() });
    }
    if let Some(blocked) = blocked {
        return Err(blocked);
    }
    let id = client.restart_services(request).await?.id;
    let last = follow::quietly(client, id).await?;
    let restarted = restarted::of(client, None, &last).await?;
    let reasons = restarted.services.iter().filter_map(|row| Some(format!("{}: {}", row.name, row.reason.as_ref()?)));
    Ok(RestartResult {
        success: restarted.success,
        order,
        reasons: reasons.chain(restarted.paused.map(|paused| format!("paused by {paused}"))).collect(),
        services_restarted: restarted.services_restarted,
        services_failed: restarted.services_failed,
        services_skipped: restarted.services_skipped,
        orchestration: Some(id.to_string()),
    })
}
