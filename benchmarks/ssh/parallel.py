"""`parallel.py fan FLEET CLIENTS COMMAND`: parallel-ssh runs a command once on each host, and this prints what it said.

Its native clients know nothing of known_hosts files, so they take any host key. It lives in the benchmarks' environment alone,
hence the import by name.
"""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    _, path, clients, command = sys.argv[1:]
    fleet = json.loads(Path(path).read_text())
    client = importlib.import_module("pssh.clients").ParallelSSHClient(
        fleet["addresses"],
        user=fleet["account"],
        port=fleet["port"],
        pkey=fleet["key"],
        pool_size=int(clients),
        allow_agent=False,
        identity_auth=False,
        num_retries=1,
    )
    for output in client.run_command(command):
        for line in output.stdout:
            print(f"{output.host}: {line}")


if __name__ == "__main__":
    main()
