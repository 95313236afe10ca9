"""Reads and checks the driver API table (kernel_hook/api/*.api); the grammar is told at the head of driver.api.

Used by the generator at build time and by the tests. Every fault of a table is a TableError with file, line and
reason; a table that parses is complete: handle kinds exist, names are unique, aliases resolve.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

MODES = ("local", "async", "sync", "custom", "refused")
HANDLE_KINDS = ("stream", "event", "module", "kernel", "link", "allocation", "array", "mipmapped_array")

# C types that a generated row may pass by value, and how they travel.
HANDLE_TYPES = {"CUstream": "stream", "CUevent": "event"}  # a module is one of two things to a driver
SCALAR_TYPES = {
    "unsigned char": "u8",
    "unsigned short": "u16",
    "unsigned int": "u32",
    "int": "i32",
    "float": "f32",
    "size_t": "u64",
    "unsigned long long": "u64",
    "cuuint64_t": "u64",
    "CUdeviceptr": "u64",
}
WIRE_TYPES = {"u8": 1, "u16": 2, "u32": 4, "i32": 4, "f32": 4, "u64": 8, "i64": 8}

# The driver calls a graphics library's or a debugger's own headers would declare; cuda.h knows nothing of them.
_NAME = r"cu[A-Z]\w*"
_ROW = re.compile(
    rf"^(?P<mode>\w+)\s+(?P<name>{_NAME})\s*(?:\((?P<parameters>.*)\))?\s*:\s*(?P<listing>[^():]+)$"
)
_ALIAS = re.compile(rf"^alias\s+(?P<name>{_NAME})\s*=\s*(?P<target>{_NAME})\s*:\s*(?P<listing>[^():]+)$")
_COMMAND = re.compile(
    r"^command\s+(?P<mode>\w+)\s+(?P<name>[A-Z]\w*)\s*\((?P<fields>[^()]*)\)"
    r"\s*(?:->\s*\((?P<reply>[^()]*)\))?\s*(?P<tail>\+\s*tail)?$"
)
_LISTED = re.compile(rf"^(?P<base>{_NAME})@(?P<version>\d+)$")
_PER_THREAD = re.compile(r"^(?P<suffix>ptsz|ptds)@(?P<version>\d+)$")


class TableError(Exception):
    """A fault in the table: `path:line: reason`."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path.name}:{line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True)
class Parameter:
    """One parameter of a driver function, as cuda.h spells it; `direction` is "", "out" or "new"."""

    c_type: str
    name: str
    direction: str = ""


@dataclass(frozen=True)
class Listing:
    """What cuGetProcAddress knows a symbol by. `base` is None for symbols that only dlsym finds."""

    base: str | None
    version: int
    per_thread_suffix: str | None
    per_thread_version: int


@dataclass(frozen=True)
class Function:
    """An exported function of the driver and how the hook answers it."""

    mode: str
    name: str
    parameters: tuple[Parameter, ...]
    listing: Listing
    section: str
    line: int
    alias_of: str | None = None


@dataclass(frozen=True)
class Field:
    """A field of a wire command. `kind` is a wire type, or a handle kind with `lifetime` "", "new" or "drop"."""

    kind: str
    name: str
    count: int = 1
    lifetime: str = ""

    @property
    def is_handle(self) -> bool:
        """Whether the field names an object."""
        return self.kind in HANDLE_KINDS


@dataclass(frozen=True)
class Command:
    """A wire command: what the hook writes into the ring and the worker replays."""

    name: str
    sync: bool
    fields: tuple[Field, ...]
    reply: tuple[Field, ...]
    tail: bool
    line: int
    function: Function | None = None  # set where both sides are generated from a function's row


@dataclass
class Table:
    """The whole table, in file order."""

    functions: list[Function] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    driver_functions: dict[str, bool] = field(default_factory=dict)  # name -> required

    def function(self, name: str) -> Function:
        """The row of that name; KeyError if there is none."""
        for row in self.functions:
            if row.name == name:
                return row
        raise KeyError(name)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        self.section = ""
        self.table = Table()
        self.seen: dict[str, int] = {}

    def fail(self, reason: str) -> TableError:
        return TableError(self.path, self.line, reason)

    def in_section(self, name: str) -> None:
        if not self.section:
            raise self.fail(f"{name} stands before the first section")

    def unique(self, name: str) -> None:
        if name == "Pad":
            raise self.fail("Pad is the ring's filler: name the command otherwise")
        if name in self.seen:
            raise self.fail(f"{name} has a row already, at line {self.seen[name]}")
        self.seen[name] = self.line

    def read(self) -> Table:
        for number, raw in enumerate(self.path.read_text(encoding="utf-8").splitlines(), start=1):
            self.line = number
            text = raw.strip()
            if not text or text.startswith("#"):
                continue
            word = text.split()[0]
            if word == "section":
                self.section = text.removeprefix("section").strip()
                if not self.section:
                    raise self.fail("a section needs a title")
            elif word == "alias":
                self.read_alias(text)
            elif word == "command":
                self.read_command(text)
            elif word in ("driver", "driver?"):
                self.read_driver(text, required=word == "driver")
            elif word in MODES:
                self.read_function(text)
            else:
                known = ", ".join((*MODES, "alias", "command", "driver", "section"))
                raise self.fail(f"a row starts with one of {known}; this one starts with '{word}'")
        self.check_listings()
        return self.table

    def read_listing(self, text: str) -> Listing:
        words = text.split()
        base: str | None = None
        version = 0
        if words[0] != "unlisted":
            match = _LISTED.match(words[0])
            if not match:
                raise self.fail(f"'{words[0]}' is not BASE@VERSION nor 'unlisted'")
            base, version = match["base"], int(match["version"])
            self.check_version(version)
        suffix: str | None = None
        per_thread_version = 0
        for word in words[1:]:
            match = _PER_THREAD.match(word)
            if not match or suffix:
                raise self.fail(f"'{word}' is not one ptsz@VERSION or ptds@VERSION")
            suffix, per_thread_version = match["suffix"], int(match["version"])
            self.check_version(per_thread_version)
        return Listing(base, version, suffix, per_thread_version)

    def check_version(self, version: int) -> None:
        if version < 2000:
            raise self.fail(f"version {version} is before the driver API's first, 2000")

    def read_parameters(self, text: str) -> tuple[Parameter, ...]:
        parameters: list[Parameter] = []
        for part in (p.strip() for p in text.split(",") if text.strip()):
            direction = ""
            words = part.split()
            if words and words[0] in ("out", "new"):
                direction = words[0]
                words = words[1:]
            if len(words) < 2:
                raise self.fail(f"'{part}' is not a type and a name")
            name, c_type = words[-1], " ".join(words[:-1])
            array = re.match(r"^(\w+)\[\]$", name)
            if array:
                name, c_type = array[1], f"{c_type}*"
            if not name.isidentifier():
                raise self.fail(f"'{name}' is not a parameter's name")
            if any(p.name == name for p in parameters):
                raise self.fail(f"{name} stands twice")
            parameters.append(Parameter(c_type, name, direction))
        return tuple(parameters)

    def read_function(self, text: str) -> None:
        match = _ROW.match(text)
        if not match:
            raise self.fail("a function's row reads: MODE cuName(PARAMETERS) : BASE@VERSION")
        mode, name = match["mode"], match["name"]
        self.in_section(name)
        self.unique(name)
        if mode == "refused":
            if match["parameters"] is not None:
                raise self.fail(f"{name} is refused: leave its parameters out")
            parameters: tuple[Parameter, ...] = ()
        else:
            if match["parameters"] is None:
                raise self.fail(f"{name} is answered: its parameters are missing")
            parameters = self.read_parameters(match["parameters"])
        row = Function(mode, name, parameters, self.read_listing(match["listing"]), self.section, self.line)
        self.table.functions.append(row)
        if mode in ("async", "sync"):
            self.table.commands.append(self.command_of(row))
        else:
            for p in parameters:
                if p.direction:
                    raise self.fail(f"{name} is {mode}: '{p.direction}' belongs to async and sync rows")

    def command_of(self, row: Function) -> Command:
        fields: list[Field] = []
        reply: list[Field] = []
        for p in row.parameters:
            if p.direction == "new":
                kind = HANDLE_TYPES.get(p.c_type.removesuffix("*"))
                if kind is None or not p.c_type.endswith("*"):
                    raise self.fail(f"{p.name}: 'new' needs a pointer to a handle type, not {p.c_type}")
                fields.append(Field(kind, p.name, lifetime="new"))
            elif p.direction == "out":
                wire = SCALAR_TYPES.get(p.c_type.removesuffix("*"))
                if wire is None or not p.c_type.endswith("*"):
                    raise self.fail(f"{p.name}: 'out' needs a pointer to a scalar, not {p.c_type}")
                if row.mode != "sync":
                    raise self.fail(f"{row.name} is async: it cannot have an 'out' parameter")
                reply.append(Field(wire, p.name))
            elif p.c_type in HANDLE_TYPES:
                fields.append(Field(HANDLE_TYPES[p.c_type], p.name))
            elif p.c_type in SCALAR_TYPES:
                fields.append(Field(SCALAR_TYPES[p.c_type], p.name))
            else:
                raise self.fail(
                    f"{p.name}: {p.c_type} cannot be passed by a generated row; make {row.name} custom"
                )
        name = row.name.removeprefix("cu")
        self.unique(name)
        return Command(name, row.mode == "sync", tuple(fields), tuple(reply), False, self.line, row)

    def read_alias(self, text: str) -> None:
        match = _ALIAS.match(text)
        if not match:
            raise self.fail("an alias reads: alias cuName = cuOther : BASE@VERSION")
        self.in_section(match["name"])
        self.unique(match["name"])
        try:
            target = self.table.function(match["target"])
        except KeyError:
            raise self.fail(
                f"{match['name']} is an alias of {match['target']}, which has no row above"
            ) from None
        listing = self.read_listing(match["listing"])
        answer = target.alias_of or target.name
        self.table.functions.append(
            Function(target.mode, match["name"], target.parameters, listing, self.section, self.line, answer)
        )

    def read_fields(self, text: str, *, reply: bool) -> tuple[Field, ...]:
        fields: list[Field] = []
        for part in (p.strip() for p in text.split(",") if text.strip()):
            words = part.split()
            lifetime = ""
            if words and words[0] in ("new", "drop"):
                lifetime, words = words[0], words[1:]
            if len(words) != 2 or not words[1].isidentifier():
                raise self.fail(f"'{part}' is not a kind and a name")
            match = re.match(r"^(\w+)(?:\[(\d+)\])?$", words[0])
            kind, count = (match[1], int(match[2] or 1)) if match else ("", 1)
            if kind not in WIRE_TYPES and kind not in HANDLE_KINDS:
                raise self.fail(f"'{words[0]}' is neither a wire type nor a handle kind")
            if kind in HANDLE_KINDS and (reply or count != 1):
                raise self.fail(f"{words[1]}: a handle is a single field of a command, never of a reply")
            if lifetime and kind not in HANDLE_KINDS:
                raise self.fail(f"{words[1]}: only a handle is '{lifetime}'")
            if count < 1 or count > 256:
                raise self.fail(f"{words[1]}: {count} elements are not between 1 and 256")
            if any(f.name == words[1] for f in fields):
                raise self.fail(f"{words[1]} stands twice")
            if words[1] == "header" and not reply:
                raise self.fail("every command has a header of its own: name the field otherwise")
            fields.append(Field(kind, words[1], count, lifetime))
        return tuple(fields)

    def read_command(self, text: str) -> None:
        match = _COMMAND.match(text)
        if not match:
            raise self.fail("a command reads: command async|sync Name(FIELDS) [-> (FIELDS)] [+ tail]")
        if match["mode"] not in ("async", "sync"):
            raise self.fail(f"a command is async or sync, not '{match['mode']}'")
        sync = match["mode"] == "sync"
        if match["reply"] is not None and not sync:
            raise self.fail(f"{match['name']} is async: it cannot have a reply")
        self.unique(match["name"])
        self.table.commands.append(
            Command(
                match["name"],
                sync,
                self.read_fields(match["fields"], reply=False),
                self.read_fields(match["reply"] or "", reply=True),
                match["tail"] is not None,
                self.line,
            )
        )

    def read_driver(self, text: str, *, required: bool) -> None:
        names = text.split()[1:]
        if not names:
            raise self.fail("a driver row names at least one function")
        for name in names:
            if not re.fullmatch(_NAME, name):
                raise self.fail(f"'{name}' is not a driver function's name")
            if name in self.table.driver_functions:
                raise self.fail(f"{name} is listed already")
            self.table.driver_functions[name] = required

    def check_listings(self) -> None:
        listed: dict[tuple[str, int], Function] = {}
        for row in self.table.functions:
            if row.listing.base is None:
                continue
            key = (row.listing.base, row.listing.version)
            if key in listed:
                self.line = row.line
                raise self.fail(f"{row.name} and {listed[key].name} both claim {key[0]}@{key[1]}")
            listed[key] = row


def read_table(path: Path) -> Table:
    """Reads the table at `path`. Raises TableError at its first fault, OSError if it cannot be read."""
    return _Reader(path).read()
