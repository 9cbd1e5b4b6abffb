//! What is asked of hosts and ends no boot: health checks, and commands on hosts with an agent. Rights are judged on every one of them (G10), and a host judges free ones once more (G9).

use model::{Amount, Approval, Force, Millis, Operation, Options, Request, Rollout, RolloutOptions, Run, RunRequest, TargetId};

use super::access::{Permission, Principal};
use super::hosts::checked_reason;
use super::records::Started;
use super::{Control, ControlError};

/// How long a command may take on a host where nobody said how long.
const LIMIT: Millis = Millis::secs(600);

/// So many hosts are asked at once whether they are well: each may be a login over SSH.
const ASKED_AT_ONCE: u32 = 500;

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

/// Which hosts are to be asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHealthCheck {
    /// Words of a [`model::Selector`].
    pub targets: Vec<String>,
    /// Only these of the configured checks.
    pub checks: Option<Vec<String>>,
    /// What does not pass is asked again for so long.
    pub wait: Option<Millis>,
}

impl Control {
    /// Asks hosts whether they are well, all at once; whoever is worked on is asked after that. Needs
    /// [`Permission::RebootHost`] for every host: it occupies the host for a moment.
    ///
    /// # Errors
    /// As [`Control::start_rollout`].
    pub async fn start_health_check(&self, by: &Principal, new: &NewHealthCheck) -> Result<Started, ControlError> {
        self.authorize(by, Permission::RebootHost, None).await?;
        self.outside(by, &new.targets)?;
        let targets: Vec<TargetId> = self.named(by, &new.targets).await?.iter().map(|host| host.id).collect();
        for target in &targets {
            self.authorize(by, Permission::RebootHost, Some(*target)).await?;
        }
        let config = &self.shared.engine;
        let said = RolloutOptions {
            canary: Some(Amount::Count(0)),
            stages: Some(Vec::new()),
            concurrency: Some(Amount::Count(ASKED_AT_ONCE)),
            failure_budget: Some(Amount::Percent(100)),
            approval: Some(Approval::Never),
            drains: Some(Vec::new()),
            // Those of rollouts may be fewer.
            checks: Some(new.checks.clone().unwrap_or_else(|| config.checks.keys().cloned().collect())),
            soak: Some(Millis(0)),
            stagger: Some(Millis(0)),
            jitter: Some(Millis(0)),
            only_if_required: Some(false),
            ..RolloutOptions::default()
        };
        let rollout = Rollout { windows: Vec::new(), canary_failure_budget: None, ..config.rollout_of(&said, None) };
        let options = Options {
            shutdown_timeout: config.rollout.shutdown_timeout,
            on_timeout: config.rollout.on_timeout,
            strict: false,
            force: None,
        };
        let operation = Operation::HealthCheck;
        let (run, wait, by_whom) = (None, new.wait, by.actor());
        let request = Request { targets, operation, options, rollout: Some(rollout), run, wait, services: None, by: by_whom };
        self.submit_rollout(by, request).await
    }

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
        let request = Request {
            targets,
            operation: Operation::Run,
            options,
            rollout: Some(rollout),
            run,
            wait: None,
            services: None,
            by: by.actor(),
        };
        self.submit_rollout(by, request).await
    }
}
