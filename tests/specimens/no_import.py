"""Cannot be imported."""

FAILS = {"test_plugin_is_usable": "cannot be imported: ModuleNotFoundError"}

import specimens.there_is_no_such  # noqa: E402, F401
