//! Whom a command is aimed at, and the options that mean nothing there: they are told, never left out of account.

use crate::args::{ClientCommand, Command, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::Session;

/// What only somebody who reaches hosts over SSH can use.
const SSH: [&str; 4] = ["--ssh-config", "--accept-new-keys", "--ask-sudo-password", "--sudo-password-file"];

/// Where a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To a server.
    Server,
    /// To an engine in this process, or in another one of this user.
    Here,
    /// Over SSH from here, without an engine.
    Ssh,
}

impl Aim {
    /// Of this command.
    ///
    /// # Errors
    /// An option means nothing there, or two of them mean two places.
    pub(crate) fn of(global: &Global, command: &ClientCommand) -> Result<Self, CliError> {
        let aim = aimed(global, command)?;
        idle(global, command, aim).map_or(Ok(aim), Err)
    }
}

fn aimed(global: &Global, command: &ClientCommand) -> Result<Aim, CliError> {
    let listed = !global.here.inventory.is_empty();
    let known = || Ok::<_, CliError>(global.server.is_some() || Session::stored()?.is_some());
    Ok(match command {
        ClientCommand::Login(_) | ClientCommand::Logout => Aim::Server,
        // Where its output is kept says nothing about who runs it.
        ClientCommand::Run(_) if !listed && known()? => Aim::Server,
        ClientCommand::HealthCheck(_) if !listed && global.here.state_dir.is_none() && known()? => Aim::Server,
        ClientCommand::Run(_) | ClientCommand::HealthCheck(_) | ClientCommand::Sync(_) => Aim::Ssh,
        command if looks(command) => Aim::Ssh,
        // Its own name means this machine, whoever else is known.
        ClientCommand::Restart(restart) if !listed && global.server.is_none() && restart.listed.names_this_machine() => Aim::Here,
        ClientCommand::Events(events) if events.file.is_some() => Aim::Here,
        command if for_a_server(command).is_some() => Aim::Server,
        // One is known, and no hosts or journal of one's own were named.
        _ if !listed && global.here.state_dir.is_none() && known()? => Aim::Server,
        _ => Aim::Here,
    })
}

/// What only a server can do.
fn for_a_server(command: &ClientCommand) -> Option<&'static str> {
    match command {
        ClientCommand::Login(_) => Some("login"),
        ClientCommand::Logout => Some("logout"),
        ClientCommand::Approve { .. } => Some("approve"),
        ClientCommand::EnrolToken { .. } => Some("enrol-token"),
        ClientCommand::Tokens(_) => Some("tokens"),
        ClientCommand::Adopt(_) => Some("adopt"),
        _ => None,
    }
}

/// What is about `reveille.toml` and needs nobody's engine.
fn looks(command: &ClientCommand) -> bool {
    matches!(
        command,
        ClientCommand::Services(_)
            | ClientCommand::Check(_)
            | ClientCommand::Init(_)
            | ClientCommand::Units(_)
            | ClientCommand::Schema
    )
}

/// Why the options are not understood together.
fn idle(global: &Global, command: &ClientCommand, aim: Aim) -> Option<CliError> {
    let typed = |option: &&str| global.typed.contains(option);
    if let Some(word) = for_a_server(command)
        && let Some(option) = ["--inventory", "--state-dir"].iter().find(|option| typed(option))
    {
        let text = format!("`{word}` is for a server: without one the inventory says which hosts there are");
        return Some(CliError::usage(text).hint(format!("leave {option} away, or edit the inventory")));
    }
    if typed(&"--server")
        && let Some(option) = ["--inventory", "--state-dir"].iter().find(|option| typed(option)).filter(|_| aim != Aim::Server)
    {
        let text = format!("--server and {option} do not go together: one engine decides about a host, there or in this process");
        return Some(CliError::usage(text).hint("give the one that is meant"));
    }
    if looks(command) && typed(&"--server") {
        let text = "--server means nothing here: this looks at this machine, or at hosts over SSH, from here";
        return Some(CliError::usage(text).hint("leave it away"));
    }
    match aim {
        Aim::Server => SSH.iter().find(|option| typed(option)).map(|option| {
            let text = format!("{option} means nothing here: this goes to a server, which reaches its hosts by itself");
            CliError::usage(text).hint(
                "leave it away (keys and the password for sudo stand in the server's configuration, under ssh), or give -i FILE to \
                 reach the hosts from here",
            )
        }),
        Aim::Here | Aim::Ssh if typed(&"--ca") && !typed(&"--server") => {
            let text = "--ca means nothing here: it is the certificate of a server, and this goes to none";
            Some(CliError::usage(text).hint("leave it away, or name the server with --server"))
        }
        Aim::Here | Aim::Ssh => None,
    }
}

/// Options for those who ask are nothing for those who serve.
///
/// # Errors
/// One was typed.
pub(crate) fn heard(global: &Global, command: &Command) -> Result<(), CliError> {
    match (command, global.typed.first()) {
        (Command::Demo(_) | Command::Server(_) | Command::Agent(_), Some(option)) => {
            let text = format!("{option} means nothing here: it is for commands that ask a server, or reach hosts themselves");
            Err(CliError::new(Exit::Usage, text).hint("leave it away"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;

    fn told(aim: Aim, words: &str) -> Option<CliError> {
        let cli = Cli::read(["reveille"].into_iter().chain(words.split(' '))).unwrap();
        let Command::Client(command) = cli.command else { return heard(&cli.global, &cli.command).err() };
        idle(&cli.global, &command, aim)
    }

    #[test]
    fn an_option_that_means_nothing_is_told_with_what_to_do() {
        let hosts = "hosts --accept-new-keys";
        assert!(told(Aim::Server, hosts).unwrap().hint.unwrap().contains("-i FILE") && told(Aim::Here, hosts).is_none());
        for option in ["--ssh-config x", "--ask-sudo-password", "--sudo-password-file x"] {
            assert_eq!(told(Aim::Server, &format!("reboot web1 {option}")).unwrap().exit, Exit::Usage, "{option}");
        }
        assert!(told(Aim::Here, "hosts -i a --ca x").unwrap().message.contains("--ca means nothing"));
        assert!(told(Aim::Server, "adopt a --state-dir x").unwrap().message.contains("for a server"));
        assert!(told(Aim::Server, "server -i fleet.toml").unwrap().message.contains("--inventory means nothing"));
        assert!(told(Aim::Server, "run a --targets b --state-dir x").is_none(), "its output is kept there");
    }

    #[test]
    fn two_who_could_decide_are_not_both_named() {
        for words in ["--server https://a:1 -i b hosts", "hosts --state-dir b --server https://a:1"] {
            assert!(told(Aim::Here, words).unwrap().message.contains("do not go together"), "{words}");
        }
        assert!(told(Aim::Here, "hosts -i b").is_none() && told(Aim::Server, "hosts --server https://a:1 --ca x").is_none());
    }

    #[test]
    fn a_run_goes_to_a_server_wherever_its_output_is_kept() {
        let aim = |words: &str| {
            let cli = Cli::read(["reveille", "--server", "https://a:1"].into_iter().chain(words.split(' '))).unwrap();
            let Command::Client(command) = cli.command else { return None };
            aimed(&cli.global, &command).ok()
        };
        assert_eq!(aim("run a --targets b --state-dir x"), Some(Aim::Server));
        assert_eq!(aim("run a --targets b -i x"), Some(Aim::Ssh));
        assert_eq!((aim("health-check"), aim("health-check -i x")), (Some(Aim::Server), Some(Aim::Ssh)));
        assert_eq!(aim("hosts --state-dir x"), Some(Aim::Here));
    }
}
