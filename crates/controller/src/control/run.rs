//! Commands on hosts with an agent. Rights are judged on every one of them (G10), and a host judges free ones once more (G9).

use model::{Force, Millis, Operation, Options, Request, RolloutOptions, Run, RunRequest, TargetId};

use super::access::{Permission, Principal};
use super::hosts::checked_reason;
use super::records::Started;
use super::{Control, ControlError};

/// How long a command may take on a host where nobody said how long.
const LIMIT: Millis = Millis::secs(600);

/// A command to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// Words of a [`model::Selector`].
    pub targets: Vec<String>,
    /// What.
    pub what: What,
    /// How long it may take on one host.
    pub limit: Option<Millis>,
    /// The configured checks must pass after it.
    pub health_check: bool,
    /// What is not as configured.
    pub options: RolloutOptions,
    /// Override what can be overridden.
    pub force: Option<Force>,
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A file of root on the hosts.
    Named(String),
    /// A line for their shells.
    Free(String),
}

impl Control {
    /// Runs a command. Needs [`Permission::RunCommand`] for every host, [`Permission::RunFree`] too for a free one, and
    /// [`Permission::Force`] when forced.
    ///
    /// # Errors
    /// As [`Control::start_rollout`]; [`ControlError::Invalid`] for what is no command, and for options that a command has not.
    pub async fn start_run(&self, by: &Principal, new: &NewRun) -> Result<Started, ControlError> {
        let needs: &[Permission] = match new.what {
            What::Named(_) => &[Permission::RunCommand],
            What::Free(_) => &[Permission::RunCommand, Permission::RunFree],
        };
        for need in needs {
            self.authorize(by, *need, None).await?;
        }
        let run = match &new.what {
            What::Named(name) => Run::Named { name: name.clone() },
            // Whose word it is stands in what is signed: the host knows users, not tokens.
            What::Free(line) => Run::Free { line: line.clone(), by: by.user().to_owned() },
        };
        run.check().map_err(ControlError::Invalid)?;
        let said = &new.options;
        if said.drains.as_ref().is_some_and(|drains| !drains.is_empty()) || said.only_if_required == Some(true) {
            let text = "a command drains nothing and asks for no reboot: leave drains and only_if_required out";
            return Err(ControlError::Invalid(text.to_owned()));
        }
        self.outside(by, &new.targets)?;
        let hosts = self.named(by, &new.targets).await?;
        let targets: Vec<TargetId> = hosts.iter().map(|host| host.id).collect();
        for target in &targets {
            for need in needs {
                self.authorize(by, *need, Some(*target)).await?;
            }
        }
        if let Some(force) = &new.force {
            self.authorize(by, Permission::Force, None).await?;
            checked_reason(&force.reason)?;
        }
        let config = &self.shared.engine;
        let mut rollout = config.rollout_of(said, None);
        rollout.drains = Vec::new();
        rollout.only_if_required = false;
        rollout.soak = said.soak.unwrap_or(Millis(0));
        if !new.health_check && said.checks.is_none() {
            rollout.checks = Vec::new();
        }
        let options = Options {
            shutdown_timeout: config.rollout.shutdown_timeout,
            on_timeout: config.rollout.on_timeout,
            strict: false,
            force: new.force.clone(),
        };
        let run = Some(RunRequest { run, limit: new.limit.unwrap_or(LIMIT) });
        let request = Request { targets, operation: Operation::Run, options, rollout: Some(rollout), run, by: by.actor() };
        self.submit_rollout(by, request).await
    }
}
