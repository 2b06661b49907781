"""What a setting takes, in words."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from router.kinds import default, kind
from router.settings import Duration, Size


class Inner(BaseModel):
    again: "Inner | None" = None


class Odd:
    """Nothing that pydantic knows."""


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    text: str
    secret: SecretStr = SecretStr("s3cr3t")
    number: float = Field(0.5, gt=0, le=2)
    whole: int = Field(3, ge=1, lt=9)
    flag: bool = True
    time: Duration = 14400.0
    short: Duration = 0.25
    perhaps_time: Duration | None = None
    size: Size | None = None
    place: Path = Path("here/there")
    word: Literal["a", "b"] = "a"
    only: Literal["a"] = "a"
    either: int | str = 1
    names: list[str] = Field(["x"], min_length=1, max_length=3)
    code: str = Field("", min_length=2, max_length=4, pattern="^[a-z]*$")
    table: dict[str, int] = Field(default_factory=dict)
    inner: Inner = Inner()
    whatever: Any = None
    odd: Odd | None = None
    shape: re.Pattern[str] | None = None


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("text", "text", "required"),
        ("secret", "secret text", '"**********"'),
        ("number", "number, over 0, to 2", "0.5"),
        ("whole", "whole number, from 1, under 9", "3"),
        ("flag", "true or false", "true"),
        ("time", 'time, as "30s"', '"4h"'),
        ("short", 'time, as "30s"', '"250ms"'),
        ("perhaps_time", 'time, as "30s"', "none"),
        ("size", 'size, as "512KiB"', "none"),
        ("place", "path", '"here/there"'),
        ("word", '"a" or "b"', '"a"'),
        ("only", '"a"', '"a"'),
        ("either", "whole number or text", "1"),
        ("names", "list of text, 1 items or more, 3 items or fewer", '["x"]'),
        (
            "code",
            "text, 2 characters or more, 4 characters or fewer, like ^[a-z]*$",
            '""',
        ),
        ("table", "table of whole number", "{}"),
        ("inner", "table", '{"again":null}'),
        ("whatever", "anything", "none"),
        ("odd", "test_kinds.Odd | None", "none"),
        ("shape", "text", "none"),
    ],
)
def test_a_setting_is_described(key: str, words: str, value: str) -> None:
    field = Model.model_fields[key]
    assert (kind(field), default(field)) == (words, value)
