//! A rolling restart that another program asks for: `cargo run --example rolling_restart -- sso.api --dry-run`.
//!
//! It prints the result as JSON, and ends with 0 when all is well, with 1 when a service failed, and with what `reveille restart`
//! would have ended with when nothing is known of how it went.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use reveille::{RestartError, RestartOptions};
use serde_json::{Value, json};

/// Restarts services of this machine in the order of their dependencies.
#[derive(Parser)]
struct Args {
    /// Only these services (default: all that are listed)
    services: Vec<String>,
    /// Only this one, and only say whether it is well
    #[arg(long, value_name = "SERVICE", conflicts_with = "services")]
    one: Option<String>,
    /// Only say in which order it would be done
    #[arg(long)]
    dry_run: bool,
    /// Make no health check, for this reason
    #[arg(long, value_name = "REASON")]
    force: Option<String>,
    /// Run no migration
    #[arg(long)]
    skip_migrations: bool,
    /// Bring new trees first
    #[arg(long)]
    deploy: bool,
    /// Where they lie
    #[arg(long, value_name = "PATH")]
    deploy_path: Option<PathBuf>,
    /// So many at once; 0 for as many as the dependencies allow
    #[arg(long, value_name = "N")]
    parallel: Option<u32>,
    /// After a failure go on with what does not depend on it
    #[arg(long)]
    keep_going: bool,
    /// Where services are listed
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Where the journal is kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

async fn restart(args: Args) -> Result<(bool, Value), RestartError> {
    let options = RestartOptions {
        manifest: args.manifest,
        state_dir: args.state_dir,
        services: args.services,
        dry_run: args.dry_run,
        force: args.force,
        skip_migrations: args.skip_migrations,
        deploy_code: args.deploy,
        deploy_path: args.deploy_path,
        parallel: args.parallel,
        keep_going: args.keep_going,
    };
    if let Some(service) = args.one {
        let well = reveille::restart_service(&service, options).await?;
        return Ok((well, json!(well)));
    }
    let result = reveille::rolling_restart(options).await?;
    let told = json!({
        "success": result.success,
        "services_restarted": result.services_restarted,
        "services_failed": result.services_failed,
        "services_skipped": result.services_skipped,
        "order": result.order,
        "reasons": result.reasons,
        "orchestration": result.orchestration,
    });
    Ok((result.success, told))
}

fn main() -> std::io::Result<ExitCode> {
    let done = tokio::runtime::Runtime::new()?.block_on(restart(Args::parse()));
    Ok(match done {
        Ok((well, told)) => {
            println!("{told}");
            if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{}", json!({ "error": error.message, "hint": error.hint, "exit_code": error.exit_code }));
            ExitCode::from(error.exit_code)
        }
    })
}
