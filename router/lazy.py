"""An attribute that is computed when it is first asked for."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class lazy(Generic[Value]):
    """As functools.cached_property, without its lock: until Python 3.12 that is one for
    all instances of a class, so threads wait for each other, whatever each computes.

    Two threads that ask one instance at once may both compute.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "lazy[Value]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> "lazy[Value] | Value":
        if instance is None:
            return self
        value = self._compute(instance)
        # From here on Python finds it there, and does not ask us. To touch `__dict__`
        # would have a dictionary made for it; setattr is not for the frozen.
        object.__setattr__(instance, self._name, value)
        return value
