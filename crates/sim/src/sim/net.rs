//! The network and the broker between controllers and agents.

use model::{Command, TargetId};
use protocol::native::{
    ControllerBody, DeviceBody, OpenError, Refused, TopicKind, open_controller, open_device, seal_controller, seal_device,
};

use crate::fault::Fault;
use crate::sim::check::Guarantee;
use crate::sim::{Event, Sim};
use crate::world::Time;

/// A body under way: as bytes of the production protocol, or, to save time on most seeds, as it is.
#[derive(Clone, Debug)]
pub(crate) enum Wire<B> {
    Plain(B),
    Sealed(Vec<u8>),
}

/// A message of a device.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    /// Who really sent it.
    pub(crate) from: usize,
    /// On whose topic.
    pub(crate) topic: usize,
    pub(crate) kind: TopicKind,
    pub(crate) wire: Wire<DeviceBody>,
    pub(crate) life: u64,
}

/// A message to a device.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) host: usize,
    pub(crate) wire: Wire<ControllerBody>,
    pub(crate) retained: bool,
    /// Not signed by the controller's key.
    pub(crate) forged: bool,
    pub(crate) life: u64,
}

impl Sim {
    /// A device says something. Whether the broker took it.
    pub(crate) fn send_up(&mut self, host: usize, body: DeviceBody) -> bool {
        self.counts.messages += 1;
        if !self.reaches_broker(host) {
            return false;
        }
        if self.strikes_now(Fault::Loss) {
            let heard = self.rng.per_mille(500);
            self.note(|s| format!("lost: {} says {}", s.hosts[host].name, words_of(&body)));
            return heard;
        }
        let kind = body.topic();
        let wire = if self.scenario.sealed {
            match seal_device(&self.device_keys[host], self.hosts[host].id, &body) {
                Ok(bytes) => Wire::Sealed(bytes),
                Err(_) => return false,
            }
        } else {
            Wire::Plain(body)
        };
        let message = Up { from: host, topic: host, kind, wire, life: self.broker_life };
        if self.strikes_now(Fault::Repetition) {
            let delay = self.travel();
            self.after(delay, Event::Up(Box::new(message.clone())));
        }
        if self.hosts.len() > 1 && self.strikes_now(Fault::Impostor) {
            let topic = (host + 1 + self.rng.index(self.hosts.len() - 1)) % self.hosts.len();
            let delay = self.travel();
            self.after(delay, Event::Up(Box::new(Up { topic, ..message.clone() })));
        }
        let delay = self.travel();
        self.after(delay, Event::Up(Box::new(message)));
        true
    }

    /// A controller says something to a device.
    pub(crate) fn send_down(&mut self, host: usize, body: ControllerBody, retained: bool) {
        self.counts.messages += 1;
        if self.strikes_now(Fault::Loss) {
            self.note(|s| format!("lost: {} for {}", words_down(&body), s.hosts[host].name));
            return;
        }
        let wire = if self.scenario.sealed {
            match seal_controller(&self.controller_key, self.hosts[host].id, &body) {
                Ok(bytes) => Wire::Sealed(bytes),
                Err(_) => return,
            }
        } else {
            Wire::Plain(body)
        };
        let message = Down { host, wire, retained, forged: false, life: self.broker_life };
        if self.hosts.len() > 1 && self.strikes_now(Fault::Misdelivered) {
            let other = (host + 1 + self.rng.index(self.hosts.len() - 1)) % self.hosts.len();
            let delay = self.travel();
            self.after(delay, Event::Down(Box::new(Down { host: other, ..message.clone() })));
        }
        if self.strikes_now(Fault::Repetition) {
            let delay = self.travel();
            self.after(delay, Event::Down(Box::new(message.clone())));
        }
        let delay = self.travel();
        self.after(delay, Event::Down(Box::new(message)));
    }

    /// A command that looks right and is signed by nobody who may.
    pub(crate) fn send_forged(&mut self, host: usize, command: Command) {
        let body = ControllerBody::Command { command };
        let wire = if self.scenario.sealed {
            // Any key but the controller's: here a device's own seed made into one.
            let forger = protocol::native::ControllerKey::from_seed(&[7; 32]);
            match forger.ok().and_then(|key| seal_controller(&key, self.hosts[host].id, &body).ok()) {
                Some(bytes) => Wire::Sealed(bytes),
                None => return,
            }
        } else {
            Wire::Plain(body)
        };
        let message = Down { host, wire, retained: false, forged: true, life: self.broker_life };
        let delay = self.travel();
        self.after(delay, Event::Down(Box::new(message)));
    }

    /// Sends a command, and remembers it for those who would send it again.
    pub(crate) fn send_command(&mut self, command: Command) {
        let Some(host) = self.host_index(command.target) else { return };
        if self.old_commands.len() < 64 {
            self.old_commands.push((host, command.clone()));
        }
        self.send_down(host, ControllerBody::Command { command }, false);
    }

    fn travel(&mut self) -> i64 {
        let base = self.rng.between(2, 40) as i64;
        if self.strikes_now(Fault::Delay) {
            return base + self.rng.between(60_000, 900_000) as i64;
        }
        if self.strikes_now(Fault::Reordering) {
            return base + self.rng.between(100, 20_000) as i64;
        }
        base
    }

    /// Whether a fault of single messages or calls strikes this one; counted if so.
    pub(crate) fn strikes_now(&mut self, fault: Fault) -> bool {
        let strikes = !self.faults_over && self.scenario.has(fault) && self.rng.per_mille(self.scenario.per_mille);
        if strikes {
            self.counts.fault(fault);
        }
        strikes
    }

    pub(crate) fn reaches_broker(&self, host: usize) -> bool {
        self.backend.lock().broker_up && !self.is_cut_off(host) && self.agents[host].connected
    }

    pub(crate) fn is_cut_off(&self, host: usize) -> bool {
        self.cut_off.get(&host).is_some_and(|until: &Time| self.now < *until)
    }

    /// What a controller hears, if it can be opened with the key of the host on whose topic it came (G10).
    pub(crate) fn open_up(&mut self, up: Up) -> Option<(TargetId, DeviceBody)> {
        let host = self.hosts[up.topic].id;
        match up.wire {
            Wire::Plain(body) if up.from == up.topic => Some((host, body)),
            // Without seals nothing would stop it: on those seeds the broker's own rules are taken to do so.
            Wire::Plain(_) => None,
            Wire::Sealed(bytes) => {
                let opened = open_device(&bytes, &self.device_keys[up.topic].public(), host, up.kind);
                if up.from != up.topic && opened.is_ok() {
                    let words = format!("{} spoke as {} and was believed", self.hosts[up.from].name, self.hosts[up.topic].name);
                    self.fail(Guarantee::G10, words);
                }
                opened.ok().map(|body| (host, body))
            }
        }
    }

    pub(crate) fn open_down(&self, down: &Down) -> Result<Box<ControllerBody>, Refused> {
        let me = self.hosts[down.host].id;
        match &down.wire {
            Wire::Plain(body) => match body {
                ControllerBody::Command { command } if down.forged => {
                    Err(Refused { error: OpenError::BadSignature, command: Some(command.id) })
                }
                ControllerBody::Command { command } if command.target != me => {
                    Err(Refused { error: OpenError::WrongTarget(command.target), command: Some(command.id) })
                }
                body => Ok(Box::new(body.clone())),
            },
            Wire::Sealed(bytes) => open_controller(bytes, &self.controller_public, me).map(Box::new),
        }
    }
}

pub(crate) fn words_of(body: &DeviceBody) -> String {
    match body {
        DeviceBody::Ack { ack } => {
            let error = ack.error.as_ref().map(|e| format!(" {}: {}", e.code, e.message)).unwrap_or_default();
            format!("{} is {}{error}", short(ack.command), ack.status)
        }
        DeviceBody::Report { .. } => "heartbeat".to_owned(),
        DeviceBody::Hello { .. } => "hello".to_owned(),
        DeviceBody::Gone { .. } => "gone".to_owned(),
    }
}

pub(crate) fn words_down(body: &ControllerBody) -> String {
    match body {
        ControllerBody::Command { command } => format!("command {} to {}", short(command.id), command.action.kind()),
        ControllerBody::Time { .. } => "the time".to_owned(),
    }
}

/// The first part of a command's id.
pub(crate) fn short(id: model::CommandId) -> String {
    id.to_string()[..8].to_owned()
}
