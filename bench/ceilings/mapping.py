"""The least that mapping costs: to parse an event, and write it again; once for each
figure of ours.

    mapping.py SECONDS BODIES

Each line of BODIES is an instant, which is nothing to us, and an event.
"""

import sys
import time

import ujson


def main() -> None:
    seconds, path = float(sys.argv[1]), sys.argv[2]
    with open(path, "rb") as file:
        bodies = [line.split(b" ", 1)[1] for line in file]
    many, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        for body in bodies:
            ujson.dumps(ujson.loads(body))
        many += len(bodies)
    print(many / took, many / took)


if __name__ == "__main__":
    main()
