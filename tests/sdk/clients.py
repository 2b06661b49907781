"""The clients that are run, each by a small driver in drivers/.

A driver is a program. It is given the router's base URL and the number of events that
make a batch, reads one call a line from its standard input (JSON, as in calls.jsonl),
and hands each to its client as it comes, with the write key "key". At the end of input
it flushes, and exits with 0 if its client took every call and reported no error.

To add a client: a driver, a `Client` in CLIENTS, and `pytest tests/sdk -k NAME
--write-golden`; then read the golden file.
"""

import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DRIVERS = HERE / "drivers"


@dataclass(frozen=True)
class Client:
    """command: runs the driver. needs: files without which it cannot run, beside the
    command's program. get: how to come by them. reorders: the tests in which the
    client itself does not send a user's events in the order of the calls
    (docs/http-api.md says why). golden: the file of several clients from which the same
    arrives; else each has one of its own.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[Path, ...] = ()
    get: str = "make sdks"
    reorders: Collection[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    golden: str = ""

    def is_missing(self) -> bool:
        program = shutil.which(self.command[0])
        return program is None or not all(path.exists() for path in self.needs)


# What was refused with Retry-After goes to the end of the client's queue.
RETRY_AFTER = {"unavailable", "limited"}
# The client does not wait for one batch before it posts the next.
ALL = {"unavailable", "limited", "killed"}
# In a page each event is a request, and no request waits for another.
EACH = ALL | {"at once"}


def python(package: str, module: str, reorders: Collection[str] = ()) -> Client:
    """A version of a Python package, installed in a directory of its own."""
    home = HERE / ".python" / package
    return Client(
        name=package.replace("==", "-"),
        command=(sys.executable, str(DRIVERS / "python.py"), module),
        needs=(home,),
        reorders=reorders,
        environ={"PYTHONPATH": str(home)},
    )


def node(package: str, driver: str, reorders: Collection[str]) -> Client:
    """A package of package.json; package is the name that it has there."""
    return Client(
        name=package,
        command=("node", str(DRIVERS / driver), package),
        needs=(HERE / "node_modules" / package,),
        get="install nodejs and npm, then `make sdks`",
        reorders=reorders,
    )


def page(
    package: str, page: str, file: str, strategy: str, reorders: Collection[str]
) -> Client:
    """A package of package.json in a page of pages/; file: its script for browsers."""
    script = HERE / "node_modules" / package / "dist" / file
    driver = DRIVERS / "browser.py"
    return Client(
        name=f"{package}-{strategy}",
        command=(sys.executable, str(driver), page, str(script), strategy),
        needs=(script, Path("/usr/bin/chromium")),
        get="install nodejs, npm and chromium, then `make sdks`",
        reorders=reorders,
        golden=package,
    )


# What the packages have for a <script>.
SEGMENT_NEXT = ("segment", "umd/index.js")
RUDDER_JS = ("rudder", "npm/modern/bundled/umd/index.js")


def java(name: str, driver: str, reorders: Collection[str] = ()) -> Client:
    """A client that drivers/java/pom.xml names."""
    made = DRIVERS / "java" / "target"
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    path = f"{made / 'classes'}:{made / 'lib'}/*"
    return Client(
        name=name,
        command=("java", *quick, "-cp", path, driver),
        needs=(made / "ready",),
        get="install a JDK and Maven, then `make sdks`",
        reorders=reorders,
    )


def emulated(name: str, reorders: Collection[str] = ()) -> Client:
    """A client of drivers/emulated, which says what it imitates."""
    command = (sys.executable, str(DRIVERS / "emulate.py"), name)
    return Client(name=name, command=command, reorders=reorders)


GO = Client(
    name="analytics-go-3.0.0",
    command=(str(DRIVERS / "go" / "driver"),),
    get="install Go, then `make sdks`",
    reorders=ALL,
    # A time zone that is neither ours nor in whole hours.
    environ={"TZ": "Asia/Kathmandu"},
)

CLIENTS = (
    python("segment-analytics-python==2.4.0", "segment.analytics", RETRY_AFTER),
    python("segment-analytics-python==2.3.6", "segment.analytics"),
    python("rudder-sdk-python==2.1.9", "rudderstack.analytics"),
    node("segment-analytics-node-3.1.0", "segment.js", ALL),
    node("segment-analytics-node-3.0.0", "segment.js", ALL),
    node("rudder-sdk-node-3.0.13", "rudder.js", ALL),
    page("segment-analytics-next-1.84.3", *SEGMENT_NEXT, "standard", EACH),
    page("segment-analytics-next-1.84.3", *SEGMENT_NEXT, "batching", ALL),
    page("segment-analytics-next-1.83.0", *SEGMENT_NEXT, "standard", EACH),
    page("segment-analytics-next-1.83.0", *SEGMENT_NEXT, "batching+tls", ALL),
    page("rudderstack-analytics-js-3.34.1", *RUDDER_JS, "standard", EACH),
    page("rudderstack-analytics-js-3.34.1", *RUDDER_JS, "batching", ALL),
    GO,
    java("analytics-java-3.5.4", "JavaDriver"),
    # A file that failed does not keep the next from being sent.
    java("analytics-kotlin-1.25.0", "KotlinDriver", ALL),
    emulated("analytics-ruby-2.5.0"),
    emulated("analytics-php-3.8.2"),
    emulated("analytics-swift-1.9.4", ALL),
    emulated("analytics-react-native-2.21.4", ALL),
    emulated("Analytics-CSharp-2.3.4", ALL),
    emulated("analytics-ios-4.1.8"),
    emulated("analytics-android-4.11.3"),
)

# It cannot be told what became of an event, so it is in no test that makes one fail.
BEACON = page("rudderstack-analytics-js-3.34.1", *RUDDER_JS, "beacon", EACH)
