"""The missions' files: YAML, checked, with the line of what is wrong.

Scalars are read as in YAML 1.2: `off` is a word and `18:30` is a time, where YAML 1.1 has a truth value and a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from contract.units import AudioFile, Behavior, Fraction, LedPattern, Name, Text
from contract.validate import accepted

MAX_FILES = 50
MAX_FILE_BYTES = 65_536
MAX_DEPTH = 8
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
RESERVED_IDS = frozenset({"active"})
"""Names that the REST paths below `/missions/` use themselves."""

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

ClockTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", description="HH:MM, 24 hours")]
Ratio = Annotated[str, Meta(pattern=r"^[1-9][0-9]?/[1-9][0-9]?$(?!\n)", description="rewarded/successes, as in 1/2")]
HoldS = Annotated[float, Meta(ge=0.2, le=3600.0, description="seconds")]
PauseS = Annotated[float, Meta(ge=3.0, le=86_400.0, description="seconds")]
TryS = Annotated[float, Meta(ge=1.0, le=3600.0, description="seconds")]
RunS = Annotated[float, Meta(ge=5.0, le=14_400.0, description="seconds")]
HowMany = Annotated[int, Meta(ge=1, le=1000, description="how many")]


class Cue(Struct, frozen=True, forbid_unknown_fields=True):
    """What the dog hears and sees."""

    sound: AudioFile | None = None
    led: LedPattern | None = None


class Cues(Struct, frozen=True, forbid_unknown_fields=True):
    """`start` begins each try, `success` marks that it was right, `fail` that its time is over."""

    start: Cue = Cue()
    success: Cue = Cue()
    fail: Cue = Cue()


class End(Struct, frozen=True, forbid_unknown_fields=True):
    """The mission ends with the first of these; its daily limit ends it too."""

    after_seconds: RunS = 600.0
    after_rewards: HowMany | None = None
    after_fails: HowMany | None = None


class Planned(Struct, frozen=True, forbid_unknown_fields=True):
    """When it starts by itself, by the robot's local time."""

    at: ClockTime
    days: Annotated[list[Day], Meta(min_length=1, max_length=7)] = msgspec.field(default_factory=lambda: list(DAYS))


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """One mission's file.

    Attributes:
        target_behavior: what the dog is to do; also_accepted counts the same.
        required_duration: how long, in seconds, without a break.
        min_confidence: sightings that the detector is less sure of count as something else.
        attempt_seconds: how long one try lasts.
        cooldown_seconds: from one try to the next.
        daily_limit: treats a local day, at most.
        reward_ratio: how many of how many successes are rewarded; see `engine.is_rewarded`.
        again_at_once: the next try may succeed without the dog having done something else in between.
    """

    name: Name
    target_behavior: Behavior
    required_duration: HoldS
    daily_limit: HowMany
    description: Text = ""
    also_accepted: Annotated[list[Behavior], Meta(max_length=6)] = msgspec.field(default_factory=list)
    min_confidence: Fraction = 0.5
    attempt_seconds: TryS = 30.0
    cooldown_seconds: PauseS = 20.0
    reward_ratio: Ratio = "1/1"
    again_at_once: bool = False
    cues: Cues = Cues()
    end: End = End()
    schedule: Annotated[list[Planned], Meta(max_length=24)] = msgspec.field(default_factory=list)

    @property
    def behaviors(self) -> frozenset[str]:
        """All that count as the behaviour."""
        return frozenset((self.target_behavior, *self.also_accepted))

    @property
    def ratio(self) -> tuple[int, int]:
        rewarded, _, of = self.reward_ratio.partition("/")
        return int(rewarded), int(of)

    def __post_init__(self) -> None:
        if "absent" in self.behaviors:
            raise ValueError("target_behavior: a dog that is not there cannot be rewarded; accepted: any but absent")
        if self.required_duration > self.attempt_seconds:
            raise ValueError(
                f"attempt_seconds: {self.attempt_seconds:g} is too short to hold anything for "
                f"{self.required_duration:g} s; accepted: required_duration or more"
            )
        rewarded, of = self.ratio
        if rewarded > of:
            raise ValueError(f"reward_ratio: {self.reward_ratio} is more than every one; accepted: 1/1 or less")


class DefinitionError(Exception):
    """A file is no mission; the message names file and line, what was wrong, and what is accepted."""


@dataclass(frozen=True)
class Library:
    """The missions of a folder by id, which is the file's name, and what is wrong with the other files."""

    missions: dict[str, Definition] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def load_folder(folder: Path) -> Library:
    """Read every `*.yaml`; a broken one does not hurt the others."""
    library = Library()
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        library.errors.append(f"{folder.name}/: the missions cannot be read: {error.strerror}.")
        return library
    for path in paths[MAX_FILES:]:
        library.errors.append(f"{_shown(path)}:1: one mission too many; accepted: {MAX_FILES} in all.")
    for path in paths[:MAX_FILES]:
        try:
            definition = load_file(path)
            if path.stem in library.missions:
                raise DefinitionError(f"{_shown(path)}:1: there is another mission of this name.")
            library.missions[path.stem] = definition
        except DefinitionError as error:
            library.errors.append(str(error))
    return library


def load_file(path: Path) -> Definition:
    """Raises:
    DefinitionError: it cannot be read, or is wrong.
    """
    shown = _shown(path)
    if not ID.fullmatch(path.stem) or path.stem in RESERVED_IDS:
        raise DefinitionError(
            f"{shown}:1: the file's name is the mission's id, and cannot be {path.stem!r}. "
            "Accepted: a to z, 0 to 9, - and _, but not `active`."
        )
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise DefinitionError(f"{shown}:1: a mission's file may have {MAX_FILE_BYTES} bytes.")
        text = raw.decode()
    except OSError as error:
        raise DefinitionError(f"{shown}:1: it cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{shown}:1: it is not UTF-8 text.") from error
    return parse(text, shown)


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def parse(text: str, shown: str) -> Definition:
    """Args:
        shown: the file's name in messages.

    Raises:
        DefinitionError: see there.
    """
    lines: dict[str, int] = {}
    try:
        node = yaml.compose(_without_aliases(text, shown), Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            raise DefinitionError(f"{shown}:1: a mission is `key: value`, line by line, beginning with name.")
        value = _value(node, "", lines, 0)
        return msgspec.convert(value, Definition)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise DefinitionError(f"{shown}:{line}: {error.problem or error.context or 'not YAML'}.") from error
    except yaml.YAMLError as error:
        raise DefinitionError(f"{shown}:1: not YAML: {error}.") from error
    except msgspec.ValidationError as error:
        line, message = _located(str(error), lines)
        raise DefinitionError(f"{shown}:{line}: {message}") from error


def _without_aliases(text: str, shown: str) -> str:
    """A few lines of aliases of aliases are more values than fit into memory."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise DefinitionError(f"{shown}:{line}: aliases (`*name`) are not accepted.")
    return text


_WHOLE = re.compile(r"[-+]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}")


def _value(node: yaml.Node, path: str, lines: dict[str, int], depth: int) -> Any:
    """A node as plain values; `lines` gets the line of every key and item by its path, as in `.end.after_seconds`."""
    lines.setdefault(path, node.start_mark.line + 1)
    if depth > MAX_DEPTH:
        raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{path}[{index}]", lines, depth + 1) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines, depth)
    return _scalar(node)


def _mapping(node: yaml.MappingNode, path: str, lines: dict[str, int], depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or key in values:
            problem = f"{key}: it stands twice" if isinstance(key, str) else "a key has to be a word"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        lines[f"{path}.{key}"] = key_node.start_mark.line + 1
        values[key] = _value(value_node, f"{path}.{key}", lines, depth + 1)
    return values


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"', "|", ">"):
        return text
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _located(complaint: str, lines: dict[str, int]) -> tuple[int, str]:
    """The line of what msgspec complains about, and the complaint for people."""
    what, _, path = complaint.partition(" - at `$")
    path = re.sub(r"\[\.\.\.\]", "[0]", path.rstrip("`"))
    own = re.match(r"(\w+): ", what)
    if own:  # a sentence of ours, which says what is accepted
        return lines.get(f"{path}.{own[1]}", lines.get(path, 1)), f"{path.lstrip('.')}{'.' if path else ''}{what}."
    unknown = re.match(r"Object contains unknown field `(.*)`", what)
    asked = _type_at(path)
    if unknown:
        names = ", ".join(each.encode_name for each in msgspec.structs.fields(asked))
        return lines.get(
            f"{path}.{unknown[1]}", 1
        ), f"{(path + '.' + unknown[1]).lstrip('.')}: unknown; accepted: {names}."
    missing = re.match(r"Object missing required field `(.*)`", what)
    if missing:
        words = accepted(_type_at(f"{path}.{missing[1]}"))
        return lines.get(path, 1), f"{(path + '.' + missing[1]).lstrip('.')}: it is missing; accepted: {words}."
    if " matching regex " in what:
        what = "it is not written as it has to be"
    subject = f"{path.lstrip('.')}: " if path else ""
    return lines.get(path, 1), f"{subject}{what[:1].lower()}{what[1:]}; accepted: {accepted(asked)}."


def _type_at(path: str) -> Any:
    """The type of the value at a path of a mission's file."""
    asked: Any = Definition
    for key, index in re.findall(r"\.(\w+)|(\[\d+\])", path):
        if index:
            asked = next((part for part in _options(asked)), asked)
            continue
        struct = next((one for one in (asked, *_options(asked)) if _is_struct(one)), None)
        if struct is None:
            break
        asked = next((each.type for each in msgspec.structs.fields(struct) if each.encode_name == key), asked)
    return asked


def _options(type_: Any) -> list[Any]:
    """What is inside of an annotation, a union or a list."""
    found: list[Any] = []
    for inner in getattr(type_, "__args__", ()):
        if isinstance(inner, type) or hasattr(inner, "__args__"):
            found += [inner, *_options(inner)]
    return [one for one in found if one is not list]


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Struct)
