"""What is computed once, and by nobody else's leave."""

import threading

from router.lazy import lazy


class Slow:
    """Computes when it is let."""

    def __init__(self) -> None:
        self.free, self.begun = threading.Event(), threading.Event()
        self.computed = 0

    @lazy
    def value(self) -> int:
        """Of interest."""
        self.begun.set()
        assert self.free.wait(10)
        self.computed += 1
        return 5


def test_it_is_computed_once() -> None:
    one = Slow()
    one.free.set()
    assert [one.value, one.value, one.computed] == [5, 5, 1]
    assert Slow.value.__doc__ == "Of interest."


def test_one_instance_does_not_wait_for_another() -> None:
    slow, quick = Slow(), Slow()
    waiting = threading.Thread(target=lambda: slow.value)
    waiting.start()
    assert slow.begun.wait(10)
    quick.free.set()
    assert (quick.value, slow.computed) == (5, 0)
    slow.free.set()
    waiting.join(10)
    assert slow.computed == 1
