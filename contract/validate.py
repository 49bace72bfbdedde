"""One function turns input into a struct, or raises the one error with what is accepted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import inspect as msgspec_inspect

from contract.errors import ContractError

T = TypeVar("T")

MAX_DEPTH = 32
"""Nesting that any message of the contract needs is under 8; deeper input is an attack on the parser."""


def decode(type_: type[T], raw: bytes | str) -> T:
    """Parse JSON and validate it.

    Raises:
        ContractError: INVALID_JSON, or INVALID_PARAMETER naming the field and what is accepted.
    """
    return convert(type_, decode_json(raw))


def decode_json(raw: bytes | str) -> Any:
    """Parse JSON into plain Python values. NaN, infinities and numbers too large for a double are refused.

    Raises:
        ContractError: INVALID_JSON.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError("INVALID_JSON", f"The message is not valid JSON: {error}.") from error
    return value


def convert(type_: type[T], value: Any) -> T:
    """Validate plain Python values (from JSON or MessagePack) into a struct.

    Unknown fields are ignored; wrong types, values out of range, NaN and infinities are refused.

    Raises:
        ContractError: INVALID_PARAMETER, naming the field and what is accepted.
    """
    try:
        refuse_non_finite(value)
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise ContractError("INVALID_PARAMETER", explain(type_, str(error))) from error
    except ValueError as error:
        raise ContractError("INVALID_PARAMETER", str(error)) from error


def encode(value: Any) -> bytes:
    """A struct or plain values as JSON bytes."""
    return msgspec.json.encode(value)


_ALWAYS_FINE = frozenset({str, int, bool, type(None), bytes})


def refuse_non_finite(value: Any, depth: int = 0, *, any_names: bool = False) -> None:
    """Raise ValueError when a NaN or an infinity is anywhere in `value`, when it is nested too deeply, or when it holds
    what YAML or MessagePack have and JSON has not: dates, extensions, and names that are no text (unless `any_names`).
    """
    kind = type(value)
    if kind is dict or kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise ValueError(f"The message is nested deeper than {MAX_DEPTH} levels.")
        if kind is dict:
            for name in value if not any_names else ():
                if type(name) is not str:
                    raise ValueError("Names of fields must be text.")
            value = value.values()
        for item in value:
            if type(item) not in _ALWAYS_FINE:
                refuse_non_finite(item, depth + 1, any_names=any_names)
    elif kind is float:
        if not math.isfinite(value):
            raise ValueError("Numbers must be finite: NaN and infinities are not accepted.")
    elif kind not in _ALWAYS_FINE:
        raise ValueError(f"Values of the type {kind.__name__} are not accepted.")


def loose_fields(type_: type[Any]) -> tuple[str, ...]:
    """The fields of a struct that can hold a NaN, an infinity or a deep nesting although msgspec has checked it:
    values of any type, and numbers without bounds. `refuse_non_finite` has to look at those.

    Raises:
        TypeError: such a field is inside a field's own struct, where this does not reach. Give the number its bounds.
    """
    info = msgspec_inspect.type_info(type_)
    assert isinstance(info, msgspec_inspect.StructType)
    loose = tuple(field.name for field in info.fields if _is_loose(field.type))
    for field in info.fields:
        for inner in _structs_in(field.type, set()):
            if any(_is_loose(part.type) for part in inner.fields):
                raise TypeError(f"{type_.__name__}.{field.name}: a number in {inner.cls.__name__} has no bounds")
    return loose


def _is_loose(info: msgspec_inspect.Type) -> bool:
    if isinstance(info, msgspec_inspect.FloatType):
        bounds = (info.ge, info.gt), (info.le, info.lt)
        return any(all(bound is None for bound in pair) for pair in bounds)
    return isinstance(info, msgspec_inspect.AnyType) or any(_is_loose(part) for part in _parts(info))


def _structs_in(info: msgspec_inspect.Type, seen: set[type]) -> Iterator[msgspec_inspect.StructType]:
    if isinstance(info, msgspec_inspect.StructType) and info.cls not in seen:
        seen.add(info.cls)
        yield info
        for field in info.fields:
            yield from _structs_in(field.type, seen)
    for part in _parts(info):
        yield from _structs_in(part, seen)


def _parts(info: msgspec_inspect.Type) -> tuple[msgspec_inspect.Type, ...]:
    """The types inside a container, a union or an annotation; a struct's fields are its own business."""
    match info:
        case msgspec_inspect.Metadata():
            return (info.type,)
        case msgspec_inspect.UnionType():
            return info.types
        case msgspec_inspect.DictType():
            return (info.key_type, info.value_type)
        case msgspec_inspect.TupleType():
            return info.item_types
        case msgspec_inspect.CollectionType():
            return (info.item_type,)
        case _:
            return ()


def explain(type_: Any, complaint: str) -> str:
    """Turn msgspec's complaint into a sentence that also says what is accepted.

    >>> explain(MotorBody, "Expected `float` <= 1.0 - at `$.left`")
    "`left`: expected `float` <= 1.0. Accepted: left number from -1.0 to 1.0 (fraction …), right …"
    """
    what, at, path = complaint.partition(" - at `$")
    if not at and what.endswith("."):
        return what  # a struct's own sentence says what is accepted
    if " matching regex " in what:
        what = "it is not written as it has to be"
    field = path.rstrip("`").lstrip(".")
    subject = f"`{field}`: " if field else ""
    return f"{subject}{what[:1].lower()}{what[1:]}. Accepted: {accepted(type_)}."


def accepted(type_: Any) -> str:
    """What a type accepts, in words."""
    info = msgspec_inspect.type_info(type_)
    return _describe(info)


def _describe(info: msgspec_inspect.Type) -> str:
    describe = _DESCRIBERS.get(type(info))
    return describe(info) if describe else type(info).__name__.removesuffix("Type").lower()


def _describe_struct(info: Any) -> str:
    fields = [
        f"{field.encode_name} {'' if field.required else '(optional) '}{_describe(field.type)}" for field in info.fields
    ]
    return "an object with " + ", ".join(fields) if fields else "an object"


def _describe_number(word: str) -> Callable[[Any], str]:
    def describe(info: Any) -> str:
        low = info.ge if info.ge is not None else info.gt
        high = info.le if info.le is not None else info.lt
        if low is not None and high is not None:
            return f"{word} from {_plain(low)} to {_plain(high)}"
        return word

    return describe


def _plain(number: float) -> str:
    """`1.0` and `1` mean the same bound, and which of them a type holds depends on which was made first."""
    return str(int(number)) if float(number).is_integer() else str(number)


def _describe_text(info: Any) -> str:
    if info.min_length and info.max_length:
        return f"text of {info.min_length} to {info.max_length} characters"
    if info.max_length:
        return f"text of at most {info.max_length} characters"
    return "text"


def _describe_metadata(info: Any) -> str:
    words = _describe(info.type)
    description = (info.extra_json_schema or {}).get("description")
    return f"{words} ({description})" if description else words


_DESCRIBERS: dict[type, Callable[[Any], str]] = {
    msgspec_inspect.StructType: _describe_struct,
    msgspec_inspect.FloatType: _describe_number("a number"),
    msgspec_inspect.IntType: _describe_number("a whole number"),
    msgspec_inspect.StrType: _describe_text,
    msgspec_inspect.BoolType: lambda info: "true or false",
    msgspec_inspect.NoneType: lambda info: "null",
    msgspec_inspect.LiteralType: lambda info: "one of " + " ".join(str(value) for value in info.values),
    msgspec_inspect.UnionType: lambda info: " or ".join(_describe(option) for option in info.types),
    msgspec_inspect.ListType: lambda info: f"a list of {_describe(info.item_type)}",
    msgspec_inspect.DictType: lambda info: "an object",
    msgspec_inspect.Metadata: _describe_metadata,
}


def literal_values(literal: Any) -> tuple[str, ...]:
    """The values of a `Literal`, in order."""
    return get_args(literal)
