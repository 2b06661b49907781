"""What `router explain` says of events of the log, in bulk: ids on standard input, and
for each of them and each destination [id, destination, outcome, code, body] as a line.

Run in a process of its own, as a plugin is imported once in each.
"""

import json
import sys

from router import config
from router.commands import existing_log
from router.explain import explain


def main() -> None:
    found = config.load()
    shared = existing_log(found)
    for line in sys.stdin:
        message_id = line.strip()
        record = shared.log.find(message_id)
        assert record is not None, message_id
        for destination in found.destinations.values():
            row = explain(destination, record)
            body = row["requests"][0]["body"] if "requests" in row else None
            outcome = (row["destination"], row["outcome"], row["code"])
            print(json.dumps([message_id, *outcome, body]))


if __name__ == "__main__":
    main()
