"""Gzip bombs cost no memory: each is inflated no further than the limit."""

import gzip
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from door import OK, Client, Door, bomb, chunked, opened, request, resident

THREADS = 8  # as in gunicorn.conf.py
BOMBS = 100

GZIP = "Content-Encoding: gzip"
IN_CHUNKS = GZIP + "\nTransfer-Encoding: chunked"
ORDINARY = request("POST", "/v1/track", b'{"event":"e","userId":"u"}')


def bombs() -> list[bytes]:
    """Requests: of 10 MB in 10 KB, of 500 MB in 500 KB, in chunks, and in members."""
    small, large = bomb(10), bomb(480)
    pieces = [large[at : at + 4096] for at in range(0, len(large), 4096)]
    bodies = [small, large, small * 50, gzip.compress(b"") * 20_000 + small]
    requests = [request("POST", "/v1/batch", body, GZIP) for body in bodies]
    return [*requests, request("POST", "/v1/batch", chunked(*pieces), IN_CHUNKS)]


def post(door: Door, wholes: Sequence[bytes], at_once: int) -> set[object]:
    """What the router answers to requests of which so many are under way at once."""

    def send(share: Sequence[bytes]) -> list[object]:
        client = Client(door)
        found = [client.answer(whole).verdict for whole in share]
        client.close()
        return found

    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(send, [wholes[n::at_once] for n in range(at_once)])
        return {verdict for some in found for verdict in some}


@pytest.mark.parametrize("at_once", [1, THREADS])
def test_a_stream_of_gzip_bombs_costs_no_memory(tmp_path: Path, at_once: int) -> None:
    kinds = bombs()
    with opened(tmp_path, WEB_CONCURRENCY="1") as door:
        assert post(door, [ORDINARY] * 200, at_once) == {OK}
        (worker,) = door.router.workers()
        idle = resident(worker)
        # From now on VmHWM is the most that it had since.
        Path(f"/proc/{worker}/clear_refs").write_text("5")
        stream = kinds * (BOMBS // len(kinds))
        assert post(door, stream, at_once) == {(400, "payload_too_large")}
        assert door.router.workers() == [worker]
        print(idle, resident(worker), resident(worker, "VmHWM"))
        assert resident(worker, "VmHWM") <= 1.3 * idle
