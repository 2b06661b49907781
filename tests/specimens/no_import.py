"""Cannot be imported."""

FAILS = {"*": "cannot be imported: ModuleNotFoundError"}

import specimens.there_is_no_such  # noqa: E402, F401
