"""Writes commands.hpp: opcodes, one struct per wire command and reply, and a description of each for validators.

Both the hook and the worker include it, so a layout that differs cannot be built.
"""

from __future__ import annotations

from kernel_hook.codegen.table import HANDLE_KINDS, WIRE_TYPES, Command, Field, Table

_C_TYPES = {
    "u8": "std::uint8_t",
    "u16": "std::uint16_t",
    "u32": "std::uint32_t",
    "i32": "std::int32_t",
    "f32": "float",
    "u64": "std::uint64_t",
    "i64": "std::int64_t",
}


def _member(item: Field) -> str:
    c_type = _C_TYPES.get(item.kind, "std::uint64_t")
    array = f"[{item.count}]" if item.count > 1 else ""
    return f"  {c_type} {item.name}{array};"


def _sorted(fields: tuple[Field, ...]) -> list[Field]:
    # Widest first: no padding between fields, whatever order the table has them in.
    return sorted(fields, key=lambda f: -WIRE_TYPES.get(f.kind, 8))


def _kind(item: Field) -> str:
    if not item.is_handle:
        return "FieldKind::scalar"
    return f"FieldKind::{item.kind}{'_' + item.lifetime if item.lifetime else ''}"


def _command(command: Command) -> list[str]:
    lines = [
        f"struct {command.name} {{",
        f"  static constexpr Opcode kOpcode = Opcode::{command.name};",
        "  CommandHeader header;",
        *(_member(f) for f in _sorted(command.fields)),
        "};",
    ]
    if command.sync:
        lines += [f"struct {command.name}Reply {{", *(_member(f) for f in _sorted(command.reply)), "};"]
    return lines


def emit(table: Table) -> str:
    """The text of commands.hpp."""
    kinds = ["scalar"] + [f"{kind}{suffix}" for kind in HANDLE_KINDS for suffix in ("", "_new", "_drop")]
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        "#pragma once",
        "",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        '#include "protocol/command.hpp"',
        "",
        "namespace tfusion::wire {",
        "",
        "enum class Opcode : std::uint16_t {",
        "  Pad = 0,",
        *(f"  {c.name} = {number}," for number, c in enumerate(table.commands, start=1)),
        "};",
        f"inline constexpr std::uint16_t kOpcodeCount = {len(table.commands) + 1};",
        "",
        *(line for c in table.commands for line in [*_command(c), ""]),
        "enum class FieldKind : std::uint8_t {",
        *(f"  {kind}," for kind in kinds),
        "};",
        "struct FieldInfo {",
        "  const char* name;",
        "  FieldKind kind;",
        "  std::uint16_t offset;",
        "  std::uint16_t bytes;",
        "};",
        "",
    ]
    for c in table.commands:
        if c.fields:
            out.append(f"inline constexpr FieldInfo k{c.name}Fields[] = {{")
            out += [
                f'    {{"{f.name}", {_kind(f)}, offsetof({c.name}, {f.name}), sizeof({c.name}::{f.name})}},'
                for f in c.fields
            ]
            out.append("};")
    out += [
        "",
        "struct CommandInfo {",
        "  const char* name;",
        "  std::uint32_t fixed_bytes;",
        "  std::uint32_t reply_bytes;",
        "  bool sync;",
        "  bool tail;",
        "  const FieldInfo* fields;",
        "  std::uint16_t field_count;",
        "};",
        "inline constexpr CommandInfo kCommands[kOpcodeCount] = {",
        '    {"Pad", sizeof(CommandHeader), 0, false, true, nullptr, 0},',
    ]
    for c in table.commands:
        reply = f"sizeof({c.name}Reply)" if c.reply else "0"
        fields = f"k{c.name}Fields" if c.fields else "nullptr"
        out.append(
            f'    {{"{c.name}", sizeof({c.name}), {reply}, {str(c.sync).lower()}, {str(c.tail).lower()}, '
            f"{fields}, {len(c.fields)}}},"
        )
    out += ["};", "", "}  // namespace tfusion::wire", ""]
    return "\n".join(out)
