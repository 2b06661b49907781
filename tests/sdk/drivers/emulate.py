"""A client that cannot be installed here, from what its source says: NAME URL BATCH."""

import json
import os
import sys
import time
from select import select

from emulated import CLIENTS

# The seconds without a call after which a client sends what it has.
INTERVAL = 0.3

name, url, batch = sys.argv[1:]
client = CLIENTS[name](url, int(batch))
rest = b""
while True:
    if not select([0], [], [], INTERVAL)[0]:
        client.flush()
        continue
    if not (read := os.read(0, 65536)):
        break
    *lines, rest = (rest + read).split(b"\n")
    for line in lines:
        client.call(json.loads(line))
while not client.is_done():
    client.flush()
    time.sleep(INTERVAL)
if client.errors:
    sys.exit("\n".join(client.errors))
