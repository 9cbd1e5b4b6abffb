//! `reveille server`: the controller in this process, until it is told to stop.

use controller::app::{self, AppError, Running};
use controller::config::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Output, ServerArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: ServerArgs, output: Output) -> Result<Exit, CliError> {
    let config = ServerConfig::load(args.config.as_deref(), environment()).map_err(|error| CliError::usage(error.to_string()))?;
    if args.reset_admin_password {
        let file = app::reset_administrator(&config).await.map_err(failed)?;
        let document = serde_json::json!({ "password_file": file });
        terminal::answer(output, &document, || format!("A one-time password for admin is in {}\n", file.display()))?;
        return Ok(Exit::Done);
    }
    let listen = |kind| signal(kind).map_err(|error| CliError::new(Exit::Failed, format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("asked to stop"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
        }
    };
    // Nobody may be there to read it; that is no reason not to serve.
    let started = |running: &Running| terminal::answer(output, &document(running), || greeting(running)).unwrap_or_default();
    app::run(config, shutdown, started).await.map_err(failed)?;
    Ok(Exit::Done)
}

/// Variables that are text; others cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn failed(error: AppError) -> CliError {
    let exit = if matches!(error, AppError::Config(_)) { Exit::Usage } else { Exit::Failed };
    CliError::new(exit, error.to_string())
}

fn document(running: &Running) -> serde_json::Value {
    serde_json::json!({
        "url": running.url(),
        "api_addresses": running.api_addresses(),
        "mqtt_addresses": running.mqtt_addresses(),
        "ca_certificate": running.ca_certificate(),
        "ca_fingerprint": running.ca_fingerprint(),
        "one_time_password_file": running.one_time_password_file(),
    })
}

fn greeting(running: &Running) -> String {
    let addresses = |all: &[std::net::SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "Reveille serves\n  address         {}\n  API             {}\n  MQTT            {}\n  CA certificate  {}\n  CA fingerprint  {}\n",
        running.url(),
        addresses(running.api_addresses()),
        addresses(running.mqtt_addresses()),
        running.ca_certificate().display(),
        running.ca_fingerprint(),
    );
    if let Some(file) = running.one_time_password_file() {
        text.push_str(&format!(
            "  first login     reveille login {} --user admin --password-file {}\n",
            running.url(),
            file.display()
        ));
    }
    text
}
