"""From a decoder's shape to object code, and to a library in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from local_runtime.tvm.build.forward import forward
from local_runtime.tvm.build.isa import instructions
from local_runtime.tvm.build.layout import MAX_RANK, PAGE_TOKENS, RANK_BLOCK, adapter_layouts
from local_runtime.tvm.build.linker import Linker, link
from local_runtime.tvm.build.macros import quick_macros
from local_runtime.tvm.build.plan import Plan
from local_runtime.tvm.run.library import LIBRARY_FILE, BuildRequest, Layout, Parameter
from local_runtime.devices.target import Target


def plan_of(request: BuildRequest) -> Plan:
    """What the request asks for, in the compiler's terms."""
    return Plan(request.config, request.quantization, instructions(request.target.isa), request.kv_dtype)


def tvm_target(target: Target) -> Any:
    """TVM's name for a target."""
    return tvm.target.Target(
        {
            "kind": "llvm",
            "mtriple": target.triple,
            "mcpu": target.mcpu,
            "mattr": list(target.mattr),
            "num-cores": target.n_threads,
        }
    )


def decoder_module(plan: Plan) -> Any:
    """The library's functions: each allocates its results and calls the one kernel."""
    builder = relax.BlockBuilder()
    with quick_macros():
        kernel = builder.add_func(forward(plan), "forward")
    for name, rows, logits in (("decode", 1, 1), ("prefill", "n_rows", 1), ("verify", "n_rows", "n_rows")):
        symbols: dict[str, Any] = {}

        def tensor(*shape: int | str, dtype: str, symbols: dict[str, Any] = symbols) -> Any:
            sizes = [
                symbols.setdefault(n, tvm.tirx.Var(n, "int64")) if isinstance(n, str) else tvm.tirx.IntImm("int64", n)
                for n in shape
            ]
            return relax.TensorType(sizes, dtype)

        half = plan.config.head_dim // 2
        keys, values = plan.attention.pool_shapes("n_pages")
        arguments = {
            "ids": tensor(rows, dtype="int32"),
            "positions": tensor(rows, dtype="int32"),
            "table": tensor("n_table", dtype="int32"),
            "keys": tensor(*keys, dtype=plan.kv_dtype),
            "values": tensor(*values, dtype=plan.kv_dtype),
            "cos": tensor("n_positions", half, dtype="float32"),
            "sin": tensor("n_positions", half, dtype="float32"),
            "strength": tensor(1, dtype="float32"),
            "addresses": tensor(plan.n_addresses, dtype="int64"),
        }
        results = [
            tensor(logits, plan.head.n, dtype="float32"), tensor(logits, dtype="int32"), tensor(logits, dtype="float32")
        ]  # fmt: skip
        variables = [relax.Var(argument, kind) for argument, kind in arguments.items()]
        with builder.function(name, variables):
            builder.emit_func_output(builder.emit(relax.call_tir(kernel, variables, results)))
    return builder.get()


def compile_decoder(plan: Plan, target: Target) -> Any:
    """TVM's executable of a decoder."""
    return tvm.compile(decoder_module(plan), target=tvm_target(target))


def build_library(
    request: BuildRequest, linker: Linker, folder: Path, progress: Callable[[str], None]
) -> tuple[Layout, tuple[Parameter, ...]]:
    """Write `model.so` to `folder`, and return what belongs into its description.

    `progress` is told each phase before it begins. Raises BuildFailed for a shape without kernels or a linker that
    fails, OSError when the disk is full.
    """
    plan = plan_of(request)
    progress("writing machine code")
    executable = compile_decoder(plan, request.target)
    progress("linking")
    apple = "apple" in request.target.triple

    def link_objects(output: str, objects: list[str], _options: object = None, **_: object) -> None:
        link(linker, [Path(o) for o in objects], Path(output), apple=apple)

    executable.export_library(str(folder / LIBRARY_FILE), fcompile=link_objects, workspace_dir=str(folder))
    return describe_layout(plan), plan.parameters


def describe_layout(plan: Plan) -> Layout:
    """What a loader needs to know to pack weights and adapters."""
    weight = plan.weight
    a, _ = adapter_layouts(plan.quantization, plan.isa)
    return Layout(
        bits=weight.bits,
        float_dtype=weight.float_dtype,
        group=weight.group,
        block=weight.block,
        offset=weight.offset,
        adapter_bits=a.bits,
        adapter_offset=a.offset,
        rank_block=RANK_BLOCK,
        max_rank=MAX_RANK,
        page_tokens=PAGE_TOKENS,
    )
