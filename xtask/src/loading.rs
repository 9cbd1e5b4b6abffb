//! How long it takes to read an inventory of 10,000 hosts, in each of the forms in which one can be written.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use inventory::Source;

use crate::bench::cpu;

const HOSTS: u32 = 10_000;

pub(crate) fn run() -> anyhow::Result<()> {
    for (form, name, text) in [
        ("fleet.toml", "fleet.toml", fleet()?),
        ("Ansible, INI", "hosts.ini", ini()?),
        ("Ansible, INI with ranges", "hosts.ini", ranges()),
        ("Ansible, YAML", "hosts.yml", yaml()?),
    ] {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let sources = [Source { name: name.to_owned(), text: text.clone() }];
            let begin = cpu();
            let read = inventory::read(&sources)?;
            best = best.min(cpu().saturating_sub(begin));
            ensure!(read.hosts.len() == HOSTS as usize, "{form}: {} hosts were read", read.hosts.len());
        }
        let (size, seconds) = (text.len() / 1024, best.as_secs_f64());
        println!("{form}: {HOSTS} hosts, {size} KiB: {seconds:.3} s of processor time (best of 5; aim: below 1 s)");
    }
    Ok(())
}

fn address(n: u32) -> String {
    format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
}

fn fleet() -> Result<String, std::fmt::Error> {
    let mut text = "[[limit_group]]\nname = \"rack\"\nper = \"rack\"\nmax_unavailable = 1\n".to_owned();
    for n in 0..HOSTS {
        let (site, rack) = (n % 10, n % 500);
        writeln!(text, "[host.host-{n:05}]\naddress = \"admin@{}\"", address(n))?;
        writeln!(text, "labels = {{ role = \"web\", site = \"s{site}\", rack = \"r{rack}\" }}")?;
    }
    Ok(text)
}

/// Each host in three groups, one of which is made of others, with variables of its own and of its groups.
fn ini() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for n in 0..HOSTS {
        writeln!(text, "host-{n:05} ansible_host={} ansible_user=admin", address(n))?;
    }
    for site in 0..10 {
        writeln!(text, "[site_{site}]")?;
        (site..HOSTS).step_by(10).try_for_each(|n| writeln!(text, "host-{n:05}"))?;
    }
    for rack in 0..500 {
        writeln!(text, "[rack_{rack}]")?;
        (rack..HOSTS).step_by(500).try_for_each(|n| writeln!(text, "host-{n:05}"))?;
    }
    text.push_str("[all_sites:children]\n");
    (0..10).try_for_each(|site| writeln!(text, "site_{site}"))?;
    text.push_str("[all_sites:vars]\nansible_port=2222\n");
    Ok(text)
}

fn ranges() -> String {
    let sites = (0..10).map(|site| format!("[site_{site}]\nhost-{site}-[000:999].example.net ansible_user=admin\n"));
    sites.collect()
}

fn yaml() -> Result<String, std::fmt::Error> {
    let mut text = "all:\n  children:\n".to_owned();
    for site in 0..10 {
        writeln!(text, "    site_{site}:\n      vars:\n        ansible_port: 2222\n      hosts:")?;
        for n in (site..HOSTS).step_by(10) {
            writeln!(text, "        host-{n:05}:\n          ansible_host: {}\n          ansible_user: admin", address(n))?;
        }
    }
    for rack in 0..500 {
        writeln!(text, "    rack_{rack}:\n      hosts:")?;
        (rack..HOSTS).step_by(500).try_for_each(|n| writeln!(text, "        host-{n:05}:"))?;
    }
    Ok(text)
}
