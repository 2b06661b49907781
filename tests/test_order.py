"""Simulations from seeds, in which lanes meet with everything: not one event of a user
may overtake another of his.

    SIMULATIONS=100000 pytest tests/test_order.py

runs that many; by default some thousands. What can be wrong is in judge_order.py.
"""

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from simulator import Course, simulate_all

SIMULATIONS = int(os.environ.get("SIMULATIONS", "2000"))
AT_ONCE = 50

# What must have happened in every hundred of them, or little would have been tried.
HAPPENS = [
    *("kill", "killed", "move", "configure", "put_back", "letters", "repeats", "taken"),
    *("rejected", "event_too_large", "plugin_error", "retries_exhausted"),
    "misconfigured",
]


def test_no_event_of_a_user_overtakes_another_of_his_whatever_happens() -> None:
    seeds = [
        range(first, min(first + AT_ONCE, SIMULATIONS))
        for first in range(0, SIMULATIONS, AT_ONCE)
    ]
    done: Counter[str] = Counter()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for courses in processes.map(simulate_all, seeds):
            for course in courses:
                done += course.done
                assert not course.violations, report(course)
    print(dict(done))
    assert [what for what in HAPPENS if done[what] < SIMULATIONS / 100] == []


def test_a_seed_makes_one_course_of_events() -> None:
    first, second = simulate_all(range(20)), simulate_all(range(20))
    assert first == second
    assert len({str(course.calls) for course in first}) == 20


def report(course: Course) -> str:
    """What was wrong, and what happened to the user whom it befell first."""
    user = next((word for word in course.violations[0].split() if ":" in word), "")
    his = [call for call in course.calls if f" {user.split(':')[0]}:" in call]
    command = f"python tests/simulator.py {course.seed}"
    return "\n".join([*his, *course.violations, f"the whole: {command}"])
