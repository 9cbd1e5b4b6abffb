//! `reveille agent`: the agent out of this program, for sandbox hosts; real hosts run `reveille-agent`.

use agent::config::Config;

use crate::args::{AgentArgs, AgentTask};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;

/// Runs it. Its errors have the exit codes of this program, not those of `reveille-agent`.
pub(crate) fn run(args: AgentArgs) -> Result<Exit, CliError> {
    let config = Config::read(&args.config).map_err(|error| CliError::usage(error.to_string()))?;
    match args.task {
        AgentTask::Run => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))?;
            runtime.block_on(agent::run(config)).map_err(|error| CliError::new(Exit::Failed, error.to_string()))?;
        }
        AgentTask::Enrol { token_file } => {
            let answer = agent::enrol::enrol(&config, &token_file, std::io::stdin());
            let answer = answer.map_err(|error| CliError::new(Exit::Failed, error.to_string()))?;
            let key = agent::identity::key(&config.state_dir).map_err(|error| CliError::new(Exit::Failed, error.to_string()))?;
            let fingerprint = key.public().fingerprint();
            terminal::print(&format!("enrolled as host {}\nkey fingerprint {fingerprint}\n", answer.host_id))?;
        }
    }
    Ok(Exit::Done)
}
