"""`true` on all hosts with asyncssh."""

import asyncio
import sys

import asyncssh

directory, width, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hosts = open(f"{directory}/hosts").read().split()


async def one(host, slots, key):
    async with slots:
        async with asyncssh.connect(
            host, port, client_keys=[key], known_hosts=f"{directory}/known_hosts", config=None, agent_path=None
        ) as connection:
            return (await connection.run("true")).exit_status


async def main():
    slots, key = asyncio.Semaphore(width), asyncssh.read_private_key(f"{directory}/user_key")
    return await asyncio.gather(*(one(h, slots, key) for h in hosts))


codes = asyncio.run(main())
sys.exit(0 if codes == [0] * len(hosts) else f"exit codes {codes}")
