"""What a setting takes, in words: for `router plugins NAME`."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import ujson
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from router.settings import SECONDS

Schema = Mapping[str, Any]

PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
    "array": "list",
}
FORMATS = {
    "password": "secret text",
    "path": "path",
    "duration": 'time, as "30s"',
    "size": 'size, as "512KiB"',
}
BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "over {}",
    "maximum": "to {}",
    "exclusiveMaximum": "under {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters or fewer",
    "minItems": "{} items or more",
    "maxItems": "{} items or fewer",
    "pattern": "like {}",
}


def kind(field: FieldInfo) -> str:
    """The type and bounds of a setting, as "whole number, from 1, to 64"."""
    try:
        schema = _schema(field)
        return _words(schema, schema.get("$defs", {}))
    except PydanticUserError:  # a type of the plugin's own that JSON does not know
        return getattr(field.annotation, "__name__", str(field.annotation))


def default(field: FieldInfo) -> str:
    """The default of a setting, as conf.d would have it, or "required"."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    with suppress(PydanticUserError):
        if _schema(field).get("format") == "duration":
            value = _time(value)
    plain = to_jsonable_python(value, fallback=str)
    return ujson.dumps(plain, escape_forward_slashes=False)


def _schema(field: FieldInfo) -> Schema:
    parts = (field.annotation, *field.metadata)
    whole: Any = Annotated[parts] if field.metadata else field.annotation
    return TypeAdapter(whole).json_schema()


def _time(seconds: float) -> str:
    """In the largest unit of which it is a whole number: "4h"."""
    sizes = SECONDS.items()
    fitting = [unit for unit, size in sizes if round(seconds / size, 6).is_integer()]
    unit = fitting[-1] if fitting else "s"
    return f"{seconds / SECONDS[unit]:g}{unit}"


def _words(schema: Schema, others: Schema) -> str:
    if "$ref" in schema:
        # No further: a table may hold itself.
        schema = others[schema["$ref"].rpartition("/")[2]]
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(map(ujson.dumps, values))
    if "anyOf" in schema:
        # To leave it out is the way to say null in TOML.
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(_words(one, others) for one in kinds)
    name = schema.get("type", "")
    words = FORMATS.get(schema.get("format", ""), PLAIN.get(name, "anything"))
    inner = schema.get("items" if name == "array" else "additionalProperties")
    if isinstance(inner, Mapping) and inner:
        words += f" of {_words(inner, others)}"
    return ", ".join([words, *_bounds(schema)])


def _bounds(schema: Schema) -> Iterator[str]:
    for key, text in BOUNDS.items():
        if key in schema:
            yield text.format(schema[key])
