"""Runs `true` on many real sshd over loopback, by Reveille and by its peers, in one run; prints figures and ratios.

Called by `cargo xtask bench ssh`, which installs the peers. Figures are of whole processes: wall time, CPU time of the driving
process and its children (the servers' not), and peak memory of the process tree (the sum of proportional set sizes, sampled).
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PORT = 2299


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class Farm:
    """So many sshd, each a process of its own on an address of its own."""

    def __init__(self, directory, count):
        self.directory = directory
        self.addresses = [f"127.0.{1 + i // 200}.{1 + i % 200}" for i in range(count)]
        self.servers = []
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", ""]
        run(*keygen, "-f", directory / "host_key")
        run(*keygen, "-f", directory / "user_key")
        shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
        host_key = " ".join((directory / "host_key.pub").read_text().split()[:2])
        known = "".join(f"[{a}]:{PORT} {host_key}\n" for a in self.addresses)
        (directory / "known_hosts").write_text(known)
        os.makedirs("/run/sshd", exist_ok=True)
        for address in self.addresses:
            config = directory / f"sshd-{address}"
            config.write_text(
                f"ListenAddress {address}:{PORT}\nHostKey {directory}/host_key\nPidFile none\n"
                f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nUsePAM no\n"
                "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 1000\nPrintMotd no\n"
            )
            self.servers.append(
                subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(config)], stderr=subprocess.DEVNULL)
            )
        self.user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self.write_inventories()
        self.wait()

    def write_inventories(self):
        d, key = self.directory, self.directory / "user_key"
        (d / "hosts").write_text("".join(f"{a}\n" for a in self.addresses))
        (d / "ssh_config").write_text(
            f"Host *\n  User {self.user}\n  Port {PORT}\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {d}/known_hosts\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
        )
        (d / "ansible.ini").write_text(
            "".join(
                f"{a} ansible_port={PORT} ansible_user={self.user} ansible_ssh_private_key_file={key}\n"
                for a in self.addresses
            )
        )
        (d / "pyinfra.py").write_text(
            "hosts = ["
            + ", ".join(
                f'("{a}", {{"ssh_port": {PORT}, "ssh_user": "{self.user}", "ssh_key": "{key}", '
                f'"ssh_known_hosts_file": "{d}/known_hosts", "ssh_strict_host_key_checking": "yes"}})'
                for a in self.addresses
            )
            + "]\n"
        )
        fleet = "".join(
            f'[host.h{i}]\naddress = "{self.user}@{a}:{PORT}"\n' for i, a in enumerate(self.addresses)
        )
        (d / "fleet.toml").write_text(fleet)

    def wait(self):
        import socket

        for address, server in zip(self.addresses, self.servers):
            if server.poll() is not None:
                sys.exit(f"sshd on {address} ended: is there one of an earlier run? (pkill -f 'sshd-127.0.1')")
            for _ in range(200):
                try:
                    socket.create_connection((address, PORT), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.02)
            else:
                sys.exit(f"sshd on {address} did not come up")

    def stop(self):
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.wait()


def tree_pss(root):
    """Proportional set size of a process and its descendants, in KiB."""
    children = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
            except OSError:
                pass
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total


def measure(argv, env, cwd, sample):
    """Wall and CPU seconds of one run; with `sample`, its peak memory instead (sampling takes time of its own)."""
    with open(cwd / "out", "wb") as out:
        began = time.perf_counter()
        child = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        peak = 0
        if sample:
            done = threading.Event()

            def watch():
                nonlocal peak
                while not done.is_set():
                    peak = max(peak, tree_pss(child.pid))
                    done.wait(0.004)

            watcher = threading.Thread(target=watch)
            watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if sample:
            done.set()
            watcher.join()
    if child.returncode != 0:
        sys.exit(f"{argv[0]} failed with {child.returncode}:\n{(cwd / 'out').read_text(errors='replace')[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": max(peak, 0)}


def contenders(d, python, reveille, width):
    bin_ = pathlib.Path(python).parent
    yield (
        "reveille",
        [reveille, "run", "true", "--targets", "*", "-i", d / "fleet.toml", "--concurrency", str(width)]
        + ["--state-dir", d / "state", "--ssh-config", d / "ssh_config"],
    )
    yield (
        "xargs -P ssh",
        ["xargs", "-a", d / "hosts", "-P", str(width), "-I{}", "ssh", "-F", d / "ssh_config", "{}", "true"],
    )
    for name in ("parallel_ssh", "asyncssh"):
        yield (name.replace("_", "-"), [python, HERE / "peers" / f"{name}_true.py", str(d), str(width), str(PORT)])
    yield ("pyinfra", [bin_ / "pyinfra", "-y", "--parallel", str(width), d / "pyinfra.py", "exec", "--", "true"])
    yield (
        "ansible",
        [bin_ / "ansible", "all", "-i", d / "ansible.ini", "-f", str(width), "-m", "raw", "-a", "true"],
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reveille", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--hosts", default="20,100")
    parser.add_argument("--concurrency", default="1,5,20")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    env = {k: v for k, v in os.environ.items() if k not in ("RUST_BACKTRACE", "SSH_AUTH_SOCK")}
    env |= {"ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_NOCOWS": "1"}
    results = []
    for count in map(int, args.hosts.split(",")):
        with tempfile.TemporaryDirectory() as name:
            d = pathlib.Path(name)
            farm = Farm(d, count)
            env["ANSIBLE_SSH_ARGS"] = f"-o UserKnownHostsFile={d}/known_hosts -o IdentitiesOnly=yes -o ControlMaster=no"
            try:
                for width in map(int, args.concurrency.split(",")):
                    results += compare(args, d, env, count, width)
            finally:
                farm.stop()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


def compare(args, d, env, count, width):
    """All contenders in turn, round after round, so that a machine whose speed drifts is unfair to nobody."""
    who = [(name, [str(a) for a in argv]) for name, argv in contenders(d, args.python, args.reveille, width)]
    seen = {name: {"wall": [], "cpu": [], "memory": []} for name, _ in who}
    for name, argv in who:
        measure(argv, env, d, False)
    for _ in range(args.runs):
        for name, argv in who:
            figures = measure(argv, env, d, False)
            seen[name]["wall"].append(figures["wall"])
            seen[name]["cpu"].append(figures["cpu"])
    for name, argv in who:
        seen[name]["memory"].append(measure(argv, env, d, True)["memory"] / 1024)
    print(f"\n{count} hosts, {width} at once, median of {args.runs} (memory: one sampled run)")
    print(f"{'':14} {'wall s':>8} {'cpu s':>8} {'MiB':>8}")
    middle = {name: {k: statistics.median(v) for k, v in f.items()} for name, f in seen.items()}
    for name, figures in middle.items():
        print(f"{name:14} {figures['wall']:8.3f} {figures['cpu']:8.3f} {figures['memory']:8.1f}")
    ours = middle["reveille"]
    ratios = []
    for what in ("wall", "cpu", "memory"):
        best = min((f[what], name) for name, f in middle.items() if name != "reveille")
        ratios.append(f"{what} {ours[what] / best[0]:.2f} of {best[1]}")
    print("reveille: " + ", ".join(ratios))
    return [{"hosts": count, "concurrency": width, "tool": name} | f for name, f in middle.items()]


if __name__ == "__main__":
    main()
