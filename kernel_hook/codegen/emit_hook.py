"""Writes the client side: the exported functions of libcuda.so.1, what they call, and the cuGetProcAddress map."""

from __future__ import annotations

from kernel_hook.codegen.table import HANDLE_TYPES, Function, Parameter, Table

# These answer before cuInit, in a forked child and while the process ends.
_ALWAYS = (
    "cuInit cuDriverGetVersion cuGetErrorName cuGetErrorString cuGetProcAddress cuGetProcAddress_v2 cuGetExportTable "
    "cuDevicePrimaryCtxReset_v2"
).split()


def _declaration(p: Parameter) -> str:
    return f"{p.c_type} {p.name}"


def _signature(row: Function, name: str) -> str:
    return f"CUresult {name}({', '.join(_declaration(p) for p in row.parameters)})"


def _generated_body(row: Function) -> list[str]:
    command = row.name.removeprefix("cu")
    lines = [f"  wire::{command} command{{}};"]
    for p in row.parameters:
        if p.direction == "out":
            lines.append(f"  if ({p.name} == nullptr) return CUDA_ERROR_INVALID_VALUE;")
        elif p.direction == "new":
            kind = HANDLE_TYPES[p.c_type.removesuffix("*")]
            lines += [
                f"  if ({p.name} == nullptr) return CUDA_ERROR_INVALID_VALUE;",
                f"  const std::uint64_t new_{p.name} = new_handle(protocol::HandleKind::{kind});",
                f"  if (new_{p.name} == 0) return CUDA_ERROR_OUT_OF_MEMORY;",
                f"  command.{p.name} = new_{p.name};",
            ]
        elif p.c_type in HANDLE_TYPES:
            kind = HANDLE_TYPES[p.c_type]
            lines.append(
                f"  if (CUresult r = {kind}_on_wire({p.name}, &command.{p.name}); r != CUDA_SUCCESS) return r;"
            )
        else:
            lines.append(f"  command.{p.name} = {p.name};")
    outs = [p for p in row.parameters if p.direction == "out"]
    if row.mode == "sync":
        lines.append(f"  wire::{command}Reply reply{{}};" if outs else "")
        argument = "&reply" if outs else "nullptr"
        lines.append(f"  CUresult result = call(command, {argument});")
        lines += [f"  if (result == CUDA_SUCCESS) *{p.name} = reply.{p.name};" for p in outs]
    else:
        lines.append("  CUresult result = post(command);")
    for p in row.parameters:
        if p.direction == "new":
            handle = f"reinterpret_cast<{p.c_type.removesuffix('*')}>(new_{p.name})"
            lines.append(f"  if (result == CUDA_SUCCESS) *{p.name} = {handle};")
    lines.append("  return result;")
    return [line for line in lines if line]


def _refusal(row: Function) -> list[str]:
    lines = [f'TFUSION_EXPORT CUresult {row.name}() {{ return tfusion::hook::refuse("{row.name}"); }}']
    if row.listing.per_thread_suffix:
        variant = f"{row.name}_{row.listing.per_thread_suffix}"
        lines.append(f'TFUSION_EXPORT CUresult {variant}() {{ return tfusion::hook::refuse("{row.name}"); }}')
    return lines


def _export(row: Function, index: int) -> list[str]:
    arguments = ", ".join(p.name for p in row.parameters)
    answer = row.alias_of or row.name
    lines = [f"TFUSION_EXPORT {_signature(row, row.name)} {{"]
    if answer not in _ALWAYS:
        lines.append("  if (CUresult r = tfusion::hook::enter(); r != CUDA_SUCCESS) return r;")
    lines += [f"  return tfusion::hook::counted({index}, tfusion::hook::api::{answer}({arguments}));", "}"]
    if row.listing.per_thread_suffix:
        lines += [
            f"TFUSION_EXPORT {_signature(row, f'{row.name}_{row.listing.per_thread_suffix}')} {{",
            "  tfusion::hook::PerThreadDefaultStream scope;",
            f"  return {row.name}({arguments});",
            "}",
        ]
    return lines


def emit_api(table: Table) -> str:
    """api.hpp: declarations of the answers, hand-written (local, custom) and generated (async, sync)."""
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        "#pragma once",
        "",
        "#include <cuda.h>",
        "",
        "namespace tfusion::hook::api {",
        "",
    ]
    for row in table.functions:
        if row.mode != "refused" and row.alias_of is None:
            out.append(f"{_signature(row, row.name)};")
    out += ["", "}  // namespace tfusion::hook::api", ""]
    return "\n".join(out)


def emit_exports(table: Table) -> str:
    """exports.cpp: every exported symbol of an answered function.

    cuda.h is included with all its versioned names, so a signature that differs from the header's does not compile.
    """
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        '#include "api.hpp"',
        '#include "src/call.hpp"',
        '#include "src/call_counts.hpp"',
        "",
        f"const unsigned tfusion::hook::kFunctionCount = {len(table.functions)};",
        "",
        "namespace tfusion::hook::api {",
        "",
    ]
    for row in table.functions:
        if row.mode in ("async", "sync") and row.alias_of is None:
            out += [_signature(row, row.name) + " {", *_generated_body(row), "}", ""]
    out += ["}  // namespace tfusion::hook::api", "", 'extern "C" {', ""]
    for index, row in enumerate(table.functions):
        if row.mode != "refused":
            out += _export(row, index)
    out += ["", '}  // extern "C"', ""]
    return "\n".join(out)


def emit_refused(table: Table) -> str:
    """refused.cpp: the exported symbols that are refused. Without cuda.h: their parameters do not matter."""
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        '#include "src/refusal.hpp"',
        "",
        "using CUresult = int;",
        "",
        'extern "C" {',
        "",
    ]
    for row in table.functions:
        if row.mode == "refused":
            out += _refusal(row)
    out += ["", '}  // extern "C"', ""]
    return "\n".join(out)


def emit_proc_map(table: Table) -> str:
    """proc_map.cpp: what cuGetProcAddress finds, sorted by name, newest version first."""
    names: list[str] = []
    for row in table.functions:
        names.append(row.name)
        if row.listing.per_thread_suffix:
            names.append(f"{row.name}_{row.listing.per_thread_suffix}")
    listed = sorted(
        (row for row in table.functions if row.listing.base),
        key=lambda r: (str(r.listing.base), -r.listing.version),
    )
    out = [
        "// Generated from kernel_hook/api/driver.api. Do not edit.",
        '#include "src/proc_map.hpp"',
        "",
        "// Only the addresses are needed here; the types are checked in exports.cpp.",
        'extern "C" {',
        *(f"void {name}();" for name in sorted(names)),
        '}  // extern "C"',
        "",
        "namespace tfusion::hook {",
        "",
        "const ProcEntry kProcMap[] = {",
    ]
    for row in listed:
        variant = (
            f"{row.name}_{row.listing.per_thread_suffix}" if row.listing.per_thread_suffix else "nullptr"
        )
        listing = row.listing
        entry = f'"{listing.base}", {listing.version}, {row.name}, {listing.per_thread_version}, {variant}'
        out.append(f"    {{{entry}}},")
    out += ["};", f"const unsigned kProcMapSize = {len(listed)};", "", "}  // namespace tfusion::hook", ""]
    return "\n".join(out)
