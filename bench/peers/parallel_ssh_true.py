"""`true` on all hosts with parallel-ssh."""

import sys

from pssh.clients import ParallelSSHClient

directory, width, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hosts = open(f"{directory}/hosts").read().split()
client = ParallelSSHClient(hosts, port=port, pkey=f"{directory}/user_key", pool_size=width, allow_agent=False)
output = client.run_command("true")
client.join(output)
codes = [o.exit_code for o in output]
sys.exit(0 if codes == [0] * len(hosts) else f"exit codes {codes}")
