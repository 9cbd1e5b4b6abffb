//! `sim`: run seeds, tell one, hunt for one on which a broken rule shows.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use sim::kept;
use sim::sweep::{StopAt, run_calm, run_calm_run, run_one, sweep, tell};
use sim::{Mode, Scenario};

const USAGE: &str = "usage: sim [--seeds N] [--from S] [--break RULE]   run N seeds from S (default 2000 from 1)
       ... --all                                      go on after a violation and list them all
       sim --seed S [--break RULE] [--lines N]        tell the story of one seed
       sim --seed S --cut N | --agent-cut N           one request in a healthy world, cut there
       ... --run                                      a command on all hosts instead
       sim --hunt RULE [--seeds N] [--from S]         find seeds on which the broken rule shows
       sim --keep [--seeds N]                         find the seeds of the table in kept.rs anew
       sim --rules                                    list the rules that can be broken";

/// A run of so many seeds must have met every fault and every end.
const COMPLETE_FROM: u64 = 2000;

#[derive(Default)]
struct Args {
    seeds: Option<u64>,
    from: Option<u64>,
    seed: Option<u64>,
    lines: Option<u64>,
    threads: Option<u64>,
    broken: Option<model::broken::Rule>,
    hunt: Option<model::broken::Rule>,
    rules: bool,
    keep: bool,
    all: bool,
    cut: Option<u64>,
    agent_cut: Option<u64>,
    run: bool,
}

fn parse() -> Result<Args, String> {
    let mut args = Args::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.replace('_', "").parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        let rule = |text: String| kept::rule_of(&text).ok_or(format!("no rule {text:?}: see sim --rules"));
        match word.as_str() {
            "--seeds" => args.seeds = Some(number(value()?)?),
            "--from" => args.from = Some(number(value()?)?),
            "--seed" => args.seed = Some(number(value()?)?),
            "--lines" => args.lines = Some(number(value()?)?),
            "--threads" => args.threads = Some(number(value()?)?),
            "--break" => args.broken = Some(rule(value()?)?),
            "--hunt" => args.hunt = Some(rule(value()?)?),
            "--cut" => args.cut = Some(number(value()?)?),
            "--agent-cut" => args.agent_cut = Some(number(value()?)?),
            "--keep" => args.keep = true,
            "--rules" => args.rules = true,
            "--all" => args.all = true,
            "--run" => args.run = true,
            _ => return Err(format!("unknown argument {word:?}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if args.rules {
        kept::ALL.iter().for_each(|rule| println!("{rule:?}"));
        return ExitCode::SUCCESS;
    }
    let lines = usize::try_from(args.lines.unwrap_or(160)).unwrap_or(160);
    if let Some(seed) = args.seed {
        if args.cut.is_some() || args.agent_cut.is_some() {
            let mode = Mode { story: true, cut: args.cut, agent_cut: args.agent_cut };
            let outcome = if args.run { run_calm_run(seed, mode) } else { run_calm(seed, mode) };
            outcome.story.iter().for_each(|line| println!("{line}"));
            return if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
        print!("{}", tell(seed, args.broken, lines));
        let broke = run_one(seed, args.broken, Mode::default()).violation.is_some();
        return if broke { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let (count, from) = (args.seeds.unwrap_or(2000), args.from.unwrap_or(1));
    let threads = usize::try_from(args.threads.unwrap_or(2)).unwrap_or(2);
    if args.keep {
        return keep(from, count, threads);
    }
    if let Some(rule) = args.hunt {
        return hunt(rule, from, count, threads);
    }
    let began = Instant::now();
    let stop = if args.all { StopAt::Never } else { StopAt::Violations(1) };
    let found = sweep(from, count, args.broken, threads, stop);
    let seconds = began.elapsed().as_secs_f64();
    print!("{}", found.counts.table());
    println!("{} seeds in {seconds:.1} s: {:.0} seeds/s on {threads} threads", found.seeds, found.seeds as f64 / seconds);
    if args.all && !found.violations.is_empty() {
        for (seed, violation) in &found.violations {
            println!("violation: seed {seed}: {}: {}", violation.guarantee, violation.words);
        }
        println!("{} seeds with violations", found.violations.len());
        return ExitCode::FAILURE;
    }
    if let Some((seed, _)) = found.violations.first() {
        print!("\n{}", tell(*seed, args.broken, lines));
        for (seed, violation) in &found.violations {
            println!("violation: seed {seed}: {}: {}", violation.guarantee, violation.words);
        }
        return ExitCode::FAILURE;
    }
    let missing = found.counts.missing();
    if found.seeds >= COMPLETE_FROM && !missing.is_empty() {
        println!("never occurred: {}", missing.join("; "));
        return ExitCode::FAILURE;
    }
    println!("no violation");
    ExitCode::SUCCESS
}

/// Seeds on which the broken rule shows and which hold unbroken, shortest stories first.
fn hunt(rule: model::broken::Rule, from: u64, count: u64, threads: usize) -> ExitCode {
    let found = sweep(from, count, Some(rule), threads, StopAt::Violations(12));
    let mut kept = Vec::new();
    for (seed, violation) in found.violations {
        if run_one(seed, None, Mode::default()).violation.is_none() {
            let hosts = Scenario::of(seed).words().len();
            kept.push((hosts, seed, violation));
        }
    }
    kept.sort_by_key(|(length, seed, _)| (*length, *seed));
    for (_, seed, violation) in &kept {
        println!("{rule:?} seed {seed}: {}: {}", violation.guarantee, violation.words);
    }
    if kept.is_empty() {
        println!("{rule:?}: no seed of {} shows it", found.seeds);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The table of kept seeds as it belongs into `kept.rs`: for each rule the first seed on which its guarantee fails.
fn keep(from: u64, count: u64, threads: usize) -> ExitCode {
    let rules = Mutex::new(kept::KEPT.iter());
    let complete = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some((rule, guarantee, known)) = rules.lock().ok().and_then(|mut rules| rules.next()) {
                    let shows = |seed: u64| {
                        let broken = run_one(seed, Some(*rule), Mode::default()).violation.map(|v| v.guarantee);
                        broken == Some(*guarantee) && run_one(seed, None, Mode::default()).violation.is_none()
                    };
                    match std::iter::once(*known).chain(from..from + count).find(|seed| shows(*seed)) {
                        Some(seed) => println!("    (Rule::{rule:?}, Guarantee::{guarantee:?}, {seed}),"),
                        None => {
                            complete.store(false, Ordering::Relaxed);
                            println!("    // {rule:?} shows on no seed");
                        }
                    }
                }
            });
        }
    });
    if complete.into_inner() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
