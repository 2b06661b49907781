"""The least code that delivers: `requests` posting bytes that are prebuilt.

    deliver.py URL BODIES THREADS

Each line of BODIES is an instant, which is nothing to us, and a body. Each thread has a
session of its own, as a lane of the router has, and keeps its connection.
"""

import sys
import threading

import requests


def post(url: str, bodies: list[bytes]) -> None:
    with requests.Session() as session:
        headers = {"Content-Type": "application/json"}
        for body in bodies:
            session.post(
                url, data=body, headers=headers, auth=("key", ""), timeout=10
            ).raise_for_status()


def main() -> None:
    url, path, threads = sys.argv[1:]
    with open(path, "rb") as file:
        bodies = [line.split(b" ", 1)[1].rstrip(b"\n") for line in file]
    many = int(threads)
    shares = [bodies[n::many] for n in range(many)]
    running = [threading.Thread(target=post, args=(url, share)) for share in shares]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


if __name__ == "__main__":
    main()
