//! What can go wrong, and how often it did.

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order in which they are printed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// In words.
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

counted! {
    /// A fault of the world. Each seed enables a random part of them.
    Fault {
        /// A message did not arrive.
        Loss = "message lost",
        /// A message arrived twice or more.
        Repetition = "message repeated",
        /// A message overtook another one.
        Reordering = "message reordered",
        /// A message was long under way.
        Delay = "message delayed past a minute",
        /// A host was cut off from the broker.
        Partition = "host cut off from the broker",
        /// The broker started again and lost everything under way.
        BrokerRestart = "broker restarted",
        /// The broker served an old command as a retained message.
        RetainedReplay = "old command served as retained",
        /// An old command was sent again, unchanged and not marked as retained.
        OldCommandReplay = "old command replayed",
        /// A command that no controller signed.
        ForgedCommand = "forged command",
        /// A command came to another host than it was meant for.
        Misdelivered = "command delivered to another host",
        /// A controller that keeps no limits sent signed reboots, one after the other.
        RogueController = "reboots signed by a controller without limits",
        /// A device said of a reboot that it was completed, on the old boot.
        FalseWord = "device called a reboot completed on the old boot",
        /// A device spoke on the topic of another one.
        Impostor = "device spoke as another",
        /// The controller died.
        ControllerCrash = "controller crashed",
        /// A second controller started while the first believed that it leads.
        TwoLeaders = "two controllers believed that they lead",
        /// A commit failed because the disk was full.
        ControllerDiskFull = "disk full under the controller",
        /// A commit became durable and nobody heard of it.
        CommitAckLost = "commit durable, answer lost",
        /// The database was replaced by a new one.
        DatabaseReplaced = "controller database replaced",
        /// One orchestration's journal could not be read at a start.
        JournalUnreadable = "one orchestration journal unreadable",
        /// The agent's process died.
        AgentCrash = "agent crashed",
        /// The agent's ledger lost what was not flushed, or its last record was torn.
        LedgerTorn = "unflushed ledger tail lost or torn",
        /// The disk under the agent was full.
        AgentDiskFull = "disk full under the agent",
        /// The power of a host failed.
        PowerCut = "host lost power",
        /// A host that went down stays down.
        NeverReturns = "host never returned",
        /// The command to reboot said yes and nothing happened.
        RebootDoesNothing = "reboot command did nothing",
        /// A shutdown was long pending and then happened.
        ShutdownHangs = "shutdown hung and happened late",
        /// A shutdown was pending and then was taken back.
        ShutdownTakenBack = "pending shutdown was taken back",
        /// Someone else rebooted a host.
        ForeignReboot = "foreign reboot, nothing of ours open",
        /// Someone else rebooted a host before our reboot was handed over.
        ForeignRebootBefore = "foreign reboot before ours",
        /// Someone else rebooted a host while ours was open.
        ForeignRebootDuring = "foreign reboot during ours",
        /// Someone else rebooted a host while its children were started.
        ForeignRebootAfter = "foreign reboot after ours",
        /// Somebody inhibited shutdown.
        Inhibitor = "shutdown inhibited",
        /// The children could not be listed, or the list was empty although there are some.
        ListingFails = "children could not be listed",
        /// A child did not stop when asked.
        ChildHangs = "child did not stop",
        /// A child could not be stopped even by force.
        ChildUnstoppable = "child did not stop even when cut off",
        /// A child did not start.
        ChildFails = "child did not start",
        /// A child vanished.
        ChildVanishes = "child vanished",
        /// A child appeared.
        ChildAppears = "child appeared",
        /// A child died or was stopped by someone else.
        ChildDies = "child died by itself",
        /// A child started by itself.
        ChildStarts = "child started by itself",
        /// A child that was down and starts with the host was started by our reboot.
        BootStartedDownChild = "boot started a child that was down",
        /// The controller's clock was stepped.
        ControllerClockStep = "controller clock stepped",
        /// A host's clock was stepped.
        HostClockStep = "host clock stepped",
        /// A host started with its clock at 1970.
        Clock1970 = "host clock at 1970",
        /// A host without agent could not be surveyed.
        SurveyFails = "host could not be surveyed over SSH",
        /// A host did not drain when asked.
        DrainHangs = "host did not drain",
        /// A host could not be put back into service.
        UndrainFails = "undrain failed",
        /// A person or another program put a drained host back into service.
        DrainUndone = "somebody undrained a host that we had drained",
        /// A person had drained a host before.
        DrainedBefore = "host drained by a person before",
        /// A service did not come back with its host.
        ComesUpSick = "service did not come back after a reboot",
        /// A check failed.
        CheckFails = "check failed",
        /// A service failed for a while.
        ServiceFlaps = "service flapped",
        /// A person paused a rollout.
        Pause = "rollout paused by an operator",
        /// A person froze the fleet.
        Freeze = "fleet frozen by an operator",
        /// A person held a host.
        Hold = "host held by an operator",
        /// A machine outside took a slot of a limit group.
        Slot = "slot of a limit group taken from outside",
        /// A person cancelled.
        Cancel = "cancelled by an operator",
        /// A second request came for a busy host.
        SecondRequest = "second request on a busy host",
        /// A forced request.
        Forced = "forced request",
        /// More requests than the lockout allows.
        ManyRequests = "many requests on one host",
        /// A copy of the claim script came late to a host without an agent, or hung on it.
        FarLate = "claim script late on a host without an agent",
        /// A late copy found that it was looked for and not found before.
        FarClosed = "late claim script found itself closed",
        /// An order of which nothing came was let go of for the sake of another command.
        FarOvertaken = "open order on a host without an agent overtaken",
        /// A command that was run said no.
        RunFails = "command ended with an exit code that is not 0",
        /// A command did not end by itself.
        RunHangs = "command hung to its limit",
        /// The named command is not on the host, or not root's.
        RunNotThere = "command was not there to be run",
        /// The agent died while it ran a command.
        RunCrash = "agent died in the middle of a command",
        /// A host went down while a command ran on it.
        RunCut = "host went down in the middle of a command",
        /// A command went on to its end although the agent that began it was gone.
        RunAlone = "command went on without its agent",
        /// A service was not healthy before anything was done.
        UnitSickBefore = "service was sick before",
        /// A service did not do what it is for after its restart.
        UnitSick = "service was sick after its restart",
        /// A service ended right after its start.
        UnitDies = "service did not start",
        /// A service did not get past its start.
        UnitHangs = "service hung in its start",
        /// A service crashed, and systemd started it again.
        UnitCrashes = "service crashed and was started again",
        /// A new tree could not be brought.
        DeployFails = "deploy failed",
        /// A new tree was brought, and that was not seen.
        DeployUnseen = "deploy done and not seen",
        /// A migration said no.
        MigrateFails = "migration failed",
        /// A migration did not end by itself.
        MigrateHangs = "migration hung to its limit",
        /// Nobody knows how a migration has ended.
        MigrateLost = "end of a migration lost",
        /// What was to be put back could not be.
        RollbackFails = "rollback of a service failed",
    }
}

impl Fault {
    /// What goes wrong with services: from a chance of its own, too.
    pub(crate) fn is_of_services(self) -> bool {
        self as usize >= Self::UnitSickBefore as usize
    }

    /// Whether a seed has these is drawn apart, so that what it means else stays as it was.
    pub(crate) fn is_drawn_apart(self) -> bool {
        matches!(
            self,
            Self::FarLate
                | Self::FarClosed
                | Self::FarOvertaken
                | Self::RunFails
                | Self::RunHangs
                | Self::RunNotThere
                | Self::RunCrash
                | Self::RunCut
                | Self::RunAlone
        )
    }
}

counted! {
    /// Where a process can be made to crash.
    CrashPoint {
        /// The transaction has not begun.
        BeforeCommit = "controller: before a commit",
        /// The transaction is durable and nobody was told.
        AfterCommit = "controller: after a commit",
        /// Before a command is handed over.
        BeforeSend = "controller: before a send",
        /// After a command was handed over.
        AfterSend = "controller: after a send",
        /// Before the agent writes to its ledger.
        AgentBeforeWrite = "agent: before a ledger write",
        /// While the agent writes to its ledger.
        AgentDuringWrite = "agent: in the middle of a ledger write",
        /// After the agent wrote, before it flushed.
        AgentBeforeFlush = "agent: between ledger write and flush",
        /// After the agent flushed.
        AgentAfterFlush = "agent: after a ledger flush",
        /// Before the agent says something.
        AgentBeforeSend = "agent: before a send",
        /// After the agent said something.
        AgentAfterSend = "agent: after a send",
        /// Before the agent runs a tool.
        AgentBeforeTool = "agent: before a tool",
        /// After the agent ran a tool.
        AgentAfterTool = "agent: after a tool",
    }
}

counted! {
    /// How a request or an orchestration came out.
    End {
        /// All as before and proven.
        Completed = "completed",
        /// The host is back, not all children are.
        Partial = "partial",
        /// Not done or not proven.
        Failed = "failed",
        /// A command was handed over, and how it ended is not known.
        Unknown = "unknown",
        /// Taken back on request.
        Cancelled = "cancelled",
        /// The engine refused the request.
        Refused = "request refused",
        /// Refused by the lockout.
        RefusedLockout = "request refused by the lockout",
        /// Refused because another orchestration holds the host.
        RefusedLocked = "request refused: host is busy",
        /// A cancel came after the reboot was handed over.
        CancelRefused = "cancel refused: reboot already issued",
        /// A cancel came when all commands that are left were handed over.
        CancelRefusedRun = "cancel refused: command already handed over",
        /// An orchestration waited for admission.
        Waited = "orchestration waited for admission",
        /// A target was stranded.
        Stranded = "target stranded",
        /// A stranded target proved to be back.
        StrandedEnded = "stranded target proved to be back",
        /// Work was taken back.
        Unwound = "track taken back",
        /// A rollout was paused because its failure budget was spent.
        BudgetSpent = "rollout paused: failure budget spent",
        /// A paused rollout went on.
        Resumed = "paused rollout resumed",
        /// What a rollout left undone was taken up by another one.
        Retried = "rollout retried",
        /// A wave waited until a person agreed.
        Agreed = "wave agreed to by a person",
        /// A target needed no reboot.
        NotNeeded = "target needed no reboot",
        /// A target was left out, because it did not drain.
        Skipped = "target skipped",
        /// A gate was found shut before anything was done.
        PutOff = "track put off",
        /// A rollout of many hosts ended well.
        FleetDone = "rollout of five or more hosts completed",
        /// Children were cut off.
        ForceStopped = "children cut off",
        /// A shutdown came to its end and the host is off.
        HostOff = "host shut down and off",
        /// A host executed a command.
        CommandRun = "command executed by a host",
        /// A track ran its command to the exit code 0.
        RunDone = "command of a track ended with 0",
        /// A track was told that its command ended otherwise, or was not begun.
        RunFailed = "command of a track failed",
        /// The end of a track's command is unknown, and by the truth it had ended well.
        UnknownDone = "command of a track unknown, truly ended with 0",
        /// The end of a track's command is unknown, and by the truth it was cut off or said no.
        UnknownCut = "command of a track unknown, truly begun and not ended well",
        /// The end of a track's command is unknown, and by the truth it goes on.
        UnknownGoesOn = "command of a track unknown, truly still running",
        /// The end of a track's command is unknown, and by the truth it was never begun.
        UnknownNotBegun = "command of a track unknown, truly never begun",
        /// A host was not well after its command.
        RunUnhealthy = "host not well after its command",
        /// A service was brought through.
        ServiceDone = "service restarted and healthy",
        /// A service was reloaded.
        ServiceReloaded = "service reloaded and healthy",
        /// A service was taken back, as it was before.
        ServiceBack = "service taken back and as before",
        /// A service was taken back, and is not as before.
        ServiceStranded = "service stranded",
        /// A service failed before anything was done to it.
        ServiceUntouched = "service failed and was not touched",
        /// A service was left alone for the sake of another one.
        ServiceSkipped = "service skipped",
        /// Nobody knows how the migration of a service has ended.
        ServiceUnknown = "migration of a service unknown",
    }
}

/// How often each thing occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    faults: Vec<u64>,
    points: Vec<u64>,
    crashes: Vec<u64>,
    ends: Vec<u64>,
    /// Events of the simulated worlds.
    pub steps: u64,
    /// Messages handed to the network.
    pub messages: u64,
    /// Journal records committed.
    pub records: u64,
    /// Comparisons of a restored engine with the live one.
    pub replays: u64,
    /// Seeds on which every message was sealed, signed and opened by the production protocol.
    pub sealed: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            faults: vec![0; Fault::ALL.len()],
            points: vec![0; CrashPoint::ALL.len()],
            crashes: vec![0; CrashPoint::ALL.len()],
            ends: vec![0; End::ALL.len()],
            steps: 0,
            messages: 0,
            records: 0,
            replays: 0,
            sealed: 0,
            virtual_ms: 0,
        }
    }
}

impl Counts {
    /// A fault occurred.
    pub fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// A crash point was passed, and whether the process died there.
    pub fn point(&mut self, point: CrashPoint, died: bool) {
        self.points[point as usize] += 1;
        self.crashes[point as usize] += u64::from(died);
    }

    /// Something ended.
    pub fn end(&mut self, end: End) {
        self.ends[end as usize] += 1;
    }

    /// How often a fault occurred.
    pub fn of_fault(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How often an end occurred.
    pub fn of_end(&self, end: End) -> u64 {
        self.ends[end as usize]
    }

    /// Add those of another run.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &mut Vec<u64>, b: &[u64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        sum(&mut self.faults, &other.faults);
        sum(&mut self.points, &other.points);
        sum(&mut self.crashes, &other.crashes);
        sum(&mut self.ends, &other.ends);
        self.steps += other.steps;
        self.messages += other.messages;
        self.records += other.records;
        self.replays += other.replays;
        self.sealed += other.sealed;
        self.virtual_ms += other.virtual_ms;
    }

    /// What never occurred, in words.
    pub fn missing(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|f| self.faults[**f as usize] == 0).map(|f| format!("fault: {}", f.words()));
        let ends = End::ALL.iter().filter(|e| self.ends[**e as usize] == 0).map(|e| format!("end: {}", e.words()));
        let crashes = CrashPoint::ALL.iter().filter(|p| self.crashes[**p as usize] == 0).map(|p| format!("crash: {}", p.words()));
        faults.chain(ends).chain(crashes).collect()
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let mut out = String::from("faults\n");
        for f in Fault::ALL {
            out += &format!("  {:>10}  {}\n", self.faults[*f as usize], f.words());
        }
        out += "crash points (passed, crashed there)\n";
        for p in CrashPoint::ALL {
            out += &format!("  {:>10}  {:>8}  {}\n", self.points[*p as usize], self.crashes[*p as usize], p.words());
        }
        out += "ends\n";
        for e in End::ALL {
            out += &format!("  {:>10}  {}\n", self.ends[*e as usize], e.words());
        }
        out += &format!(
            "{} steps, {} messages, {} journal records, {} replays compared, {} seeds with sealed messages, {} virtual hours\n",
            self.steps,
            self.messages,
            self.records,
            self.replays,
            self.sealed,
            self.virtual_ms / 3_600_000
        );
        out
    }
}
