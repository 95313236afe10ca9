"""The notebook's magics: %vgpu shows the kernel's slice, %%vgpu_time what one cell used of it.

Loaded by `%load_ext jupyter_tfusion` (jupyter_tfusion/__init__.py) in the learner's kernel, which asks the daemon as an
observer (gpu_server/observer.py). What cannot be known is a sentence on stderr, and no error: the learner's cells go
on.
"""

from __future__ import annotations

import ast
import inspect
import sys
import time
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.display import display

from gpu_server.errors import TFusionError
from gpu_server.observation import Observation
from gpu_server.observer import SETTLE_S, observe, wait_until_done
from jupyter_tfusion.slice_card import SliceCard, cell_use


@magics_class
class SliceMagics(Magics):
    """%vgpu and %%vgpu_time."""

    @line_magic
    def vgpu(self, line: str) -> SliceCard | None:
        """Shows this kernel's slice of the GPU: memory, state, time, processes."""
        if line.strip():
            raise UsageError(
                "%vgpu takes no arguments. %%vgpu_time, as the first line of a cell, measures it."
            )
        try:
            return SliceCard(observe())
        except TFusionError as error:
            print(error, file=sys.stderr)
            return None

    @cell_magic
    def vgpu_time(self, line: str, cell: str) -> Any:
        """Runs the cell, waits for the GPU, and shows what the cell used: GPU time, waiting time, memory, swaps.

        All processes of the kernel count. An exception of the cell is the cell's, as ever.
        """
        if line.strip():
            raise UsageError("%%vgpu_time takes no arguments: the code to measure stands below it.")
        shell = self._shell()
        body, last = _compile(shell, cell)
        begin = _begin()
        started_ns = time.perf_counter_ns()
        try:
            exec(body, shell.user_ns)
            value = eval(last, shell.user_ns) if last is not None else None
        finally:
            if begin is not None:
                _show(begin, started_ns)
        return None if cell.rstrip().endswith(";") else value

    def _shell(self) -> Any:
        if self.shell is None:
            raise UsageError("%%vgpu_time works in IPython and in notebooks only.")
        return self.shell


def _compile(shell: Any, cell: str) -> tuple[Any, Any]:
    """The cell's code, and apart from it that of its last line if that has a value."""
    source = shell.transform_cell(cell)
    tree = shell.transform_ast(shell.compile.ast_parse(source))
    name = shell.compile.cache(source)  # tracebacks show its lines
    final = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    flags = (
        shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )  # so that it is seen below, not a syntax error
    body = compile(tree, name, "exec", flags, True)
    last = None if final is None else compile(ast.Expression(final.value), name, "eval", flags, True)
    if any(code is not None and code.co_flags & inspect.CO_COROUTINE for code in (body, last)):
        raise UsageError(
            "%%vgpu_time cannot measure a cell with 'await' outside of a function. Put it into a function, or ask "
            "%vgpu before and after."
        )
    return body, last


def _begin() -> Observation | None:
    """The slice's state before the cell; None, with a sentence, where it cannot be known."""
    try:
        wait_until_done()  # what earlier cells left to the GPU is not this one's
        return observe(mark=True)
    except TFusionError as error:
        print(f"This cell is not measured. {error}", file=sys.stderr)
        return None


def _show(begin: Observation, started_ns: int) -> None:
    try:
        alone = wait_until_done()
        wall_ns = time.perf_counter_ns() - started_ns
        if not alone:
            print(
                "Another thread of this notebook uses the GPU too: its work counts, and was not waited for.",
                file=sys.stderr,
            )
        time.sleep(SETTLE_S)
        display(cell_use(begin, observe(), wall_ns))  # type: ignore[no-untyped-call]
    except TFusionError as error:
        print(f"What this cell used is not known. {error}", file=sys.stderr)
