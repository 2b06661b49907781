"""Has a case that was true once."""

from specimens.good import deliver, identify, settings, track

__all__ = ["deliver", "identify", "settings", "track"]

FAILS = {
    "test_case[signed-up]": 'requests[0].body[0].plan: expected "silver"; came "gold"'
}
