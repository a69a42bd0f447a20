"""Program that requests paths of a proxy in turn, as an installer does, and prints the times in milliseconds.

It runs in a separate process, so that the load of the test does not count. Standard input: host, port, authorization
and paths as JSON. It stops when standard input is closed.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time


def main() -> None:
    """Read the request, measure until standard input is closed, and print the times as JSON."""
    asked = json.loads(sys.stdin.readline())
    connection = http.client.HTTPConnection(asked["host"], asked["port"], timeout=60)
    headers = {"Authorization": asked["authorization"], "Accept": "application/vnd.pypi.simple.v1+json"}
    times: list[float] = []
    while not select.select([sys.stdin], [], [], 0.005)[0]:
        for path in asked["paths"]:
            started = time.perf_counter()
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            times.append((time.perf_counter() - started) * 1000)
            if response.status != 200:
                sys.exit(f"{path} answered {response.status} {response.reason}")
    print(json.dumps(times))


if __name__ == "__main__":
    main()
