//! Restarts of services (S3). Rights are judged on every host (G10).

use std::collections::BTreeSet;

use engine::{Preview, Refusal};
use model::{
    CheckKind, DeployFrom, Force, Millis, Operation, Options, Request, Service, ServicesRequest, TargetId, TimeoutPolicy,
};

use super::access::{Permission, Principal};
use super::records::Started;
use super::{Control, ControlError};

/// More services than this are not one platform.
const MOST: usize = 2000;

/// Services to be restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewServiceRestart {
    /// On which hosts: words of a [`model::Selector`].
    pub targets: Vec<String>,
    /// All that are declared.
    pub services: Vec<Service>,
    /// Those that are meant; all when it is empty.
    pub only: BTreeSet<String>,
    /// So many at once; 0 = as many as the dependencies allow.
    pub parallel: u32,
    /// What does not depend on a failed service goes on.
    pub keep_going: bool,
    /// No migration is run.
    pub skip_migrations: bool,
    /// Deploy, too.
    pub deploy: Option<DeployFrom>,
    /// Skip health checks, and override what else can be overridden.
    pub force: Option<Force>,
}

/// Whether a health check runs what its request brings, or asks others than the host itself, in the host's name.
fn reaches_out(check: &CheckKind) -> bool {
    let is_own = |place: &str| {
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|own| place.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?'])))
    };
    match check {
        CheckKind::Command { .. } => true,
        CheckKind::Http { url, .. } => !url.split_once("://").is_some_and(|(_, place)| is_own(place)),
        CheckKind::Tcp { address } => !is_own(address),
        _ => false,
    }
}

impl Control {
    /// Restarts services. Needs [`Permission::RestartServices`] for every host, and [`Permission::Force`] when forced.
    ///
    /// # Errors
    /// As [`Control::start_rollout`].
    pub async fn start_service_restart(&self, by: &Principal, new: NewServiceRestart) -> Result<Started, ControlError> {
        let request = self.service_request(by, new).await?;
        self.submit_rollout(by, request).await
    }

    /// What that would do, or why it would be refused. Rights as for the start.
    ///
    /// # Errors
    /// As [`Control::start_service_restart`], but for what the engine refuses.
    pub async fn preview_service_restart(
        &self,
        by: &Principal,
        new: NewServiceRestart,
    ) -> Result<(Request, Result<Preview, Refusal>), ControlError> {
        let request = self.service_request(by, new).await?;
        self.previewed(request).await
    }

    async fn service_request(&self, by: &Principal, new: NewServiceRestart) -> Result<Request, ControlError> {
        self.authorize(by, Permission::RestartServices, None).await?;
        if new.services.len() > MOST {
            return Err(ControlError::Invalid(format!("{} services are declared, at most {MOST}", new.services.len())));
        }
        // Everything that a service brings from its request is the operator's own word: commands and paths of root.
        let brings = |s: &&Service| {
            let command = s.check.as_ref().is_some_and(|check| reaches_out(&check.kind));
            command || matches!(s.migrate, Some(model::Migrate::Command { .. })) || new.deploy.is_some() && s.deploy.is_some()
        };
        let brings_commands = new.services.iter().any(|s| brings(&s));
        self.outside(by, &new.targets)?;
        let hosts = self.named(by, &new.targets).await?;
        let targets: Vec<TargetId> = hosts.iter().map(|host| host.id).collect();
        for target in &targets {
            self.authorize(by, Permission::RestartServices, Some(*target)).await?;
            if brings_commands {
                self.authorize(by, Permission::DeployServices, Some(*target)).await?;
            }
        }
        if let Some(force) = &new.force {
            self.authorize(by, Permission::Force, None).await?;
            super::hosts::checked_reason(&force.reason)?;
        }
        let NewServiceRestart { services, only, parallel, keep_going, skip_migrations, deploy, force, .. } = new;
        // Of children nothing is asked.
        let options = Options { shutdown_timeout: Millis(0), on_timeout: TimeoutPolicy::Abort, strict: false, force };
        let services = ServicesRequest { services, only, parallel, keep_going, skip_migrations, deploy };
        Ok(Request {
            targets,
            operation: Operation::RestartServices,
            options,
            rollout: None,
            run: None,
            wait: None,
            services: Some(Box::new(services)),
            by: by.actor(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_the_host_itself_is_an_operators_and_any_other_is_not() {
        let http = |url: &str| CheckKind::Http { url: url.to_owned(), status: 200, contains: None };
        for own in ["http://localhost:3001/health", "http://127.0.0.1/", "https://[::1]:8443/x", "http://localhost"] {
            assert!(!reaches_out(&http(own)), "{own}");
        }
        for other in
            ["http://169.254.169.254/", "http://localhost.example.org/", "http://localhost@10.0.0.1/", "http://127.0.0.10/", "x"]
        {
            assert!(reaches_out(&http(other)), "{other}");
        }
        assert!(!reaches_out(&CheckKind::Tcp { address: "localhost:6379".to_owned() }));
        assert!(reaches_out(&CheckKind::Tcp { address: "db:5432".to_owned() }));
    }
}
