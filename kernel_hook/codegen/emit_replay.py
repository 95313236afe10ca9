"""Writes the worker's side: the table of driver functions, and the dispatch from opcode to replay."""

from __future__ import annotations

from kernel_hook.codegen.table import HANDLE_TYPES, Command, Table


def _driver_functions(table: Table) -> dict[str, bool]:
    functions = dict(table.driver_functions)
    for command in table.commands:
        if command.function is not None:
            functions[command.function.name] = True
    return dict(sorted(functions.items()))


def emit_driver(table: Table) -> str:
    """driver_functions.hpp: one pointer per driver function that the worker may call, with cuda.h's own type."""
    functions = _driver_functions(table)
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        "#pragma once",
        "",
        "#include <cuda.h>",
        "",
        "namespace tfusion::replay {",
        "",
        "struct DriverFunctions {",
        *(f"  decltype(&::{name}) {name} = nullptr;" for name in functions),
        "",
        "  // Calls visit(name, reference to the pointer, whether it must exist) for each.",
        "  template <typename Visit>",
        "  void for_each(Visit&& visit) {",
        *(f'    visit("{name}", {name}, {str(required).lower()});' for name, required in functions.items()),
        "  }",
        "};",
        "",
        "}  // namespace tfusion::replay",
        "",
    ]
    return "\n".join(out)


def _case(command: Command) -> list[str]:
    lines = [f"    case wire::Opcode::{command.name}: {{"]
    row = command.function
    if row is None:
        tail = ", tail" if command.tail else ""
        lines += [f"      return replay(session, read<wire::{command.name}>(bytes){tail});", "    }"]
        return lines
    lines.append(f"      [[maybe_unused]] const auto command = read<wire::{command.name}>(bytes);")
    if command.reply:
        lines.append(f"      wire::{command.name}Reply reply{{}};")
    arguments: list[str] = []
    created: tuple[str, str] | None = None
    for p in row.parameters:
        if p.direction == "out":
            arguments.append(f"&reply.{p.name}")
        elif p.direction == "new":
            c_type = p.c_type.removesuffix("*")
            kind = f"protocol::HandleKind::{HANDLE_TYPES[c_type]}"
            lines += [
                f"      if (!session.may_create(command.header, command.{p.name}, {kind})) return;",
                f"      {c_type} {p.name} = nullptr;",
            ]
            arguments.append(f"&{p.name}")
            created = (f"command.{p.name}", p.name)
        elif p.c_type in HANDLE_TYPES:
            lines += [
                f"      {p.c_type} {p.name} = nullptr;",
                f"      if (!session.resolve(command.header, command.{p.name}, &{p.name})) return;",
            ]
            arguments.append(p.name)
        else:
            arguments.append(f"command.{p.name}")
    lines.append(f"      const CUresult result = session.driver().{row.name}({', '.join(arguments)});")
    if created:
        lines.append(f"      session.created({created[0]}, {created[1]}, result);")
    if command.sync:
        data = "&reply, sizeof(reply)" if command.reply else "nullptr, 0"
        lines.append(f"      session.reply(command.header, result, {data});")
    else:
        lines.append("      session.note(command.header, result);")
    lines += ["      return;", "    }"]
    return lines


def emit_dispatch(table: Table) -> str:
    """dispatch.cpp: from a checked, private copy of a command to the driver call or its hand-written replay."""
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        '#include "replay/dispatch.hpp"',
        "",
        '#include "replay_commands.hpp"',
        '#include "replay/session.hpp"',
        "",
        "namespace tfusion::replay {",
        "",
        "void dispatch(Session& session, wire::Opcode opcode, std::span<const std::byte> bytes,",
        "              [[maybe_unused]] std::span<const std::byte> tail) {",
        "  switch (opcode) {",
        "    case wire::Opcode::Pad:",
        "      return;",
        *(line for c in table.commands for line in _case(c)),
        "  }",
        "}",
        "",
        "}  // namespace tfusion::replay",
        "",
    ]
    return "\n".join(out)


def emit_commands(table: Table) -> str:
    """replay_commands.hpp: declarations of the hand-written replays, one overload per command struct."""
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        "#pragma once",
        "",
        "#include <cstddef>",
        "#include <span>",
        "",
        '#include "commands.hpp"',
        "",
        "namespace tfusion::replay {",
        "",
        "class Session;",
        "",
    ]
    for c in table.commands:
        if c.function is None:
            tail = ", std::span<const std::byte> tail" if c.tail else ""
            out.append(f"void replay(Session& session, const wire::{c.name}& command{tail});")
    out += ["", "}  // namespace tfusion::replay", ""]
    return "\n".join(out)
