"""From a decoder's shape to object code, and to a library and its description in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm

from local_runtime.compiler.decoder import Plan, export, linear_parts
from local_runtime.compiler.isa import instructions
from local_runtime.compiler.layout import MAX_RANK, PAGE_TOKENS, RANK_BLOCK, adapter_layouts
from local_runtime.compiler.linker import Linker, link
from local_runtime.library import LIBRARY_FILE, BuildRequest, Layout, Parameter
from local_runtime.target import Target


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


def compile_decoder(plan: Plan, target: Target) -> tuple[Any, list[tuple[str, Any]]]:
    """TVM's executable of a decoder, and its parameters in order."""
    module, parameters = export(plan)
    return tvm.compile(module, target=tvm_target(target)), parameters


def build_library(
    request: BuildRequest, linker: Linker, folder: Path, progress: Callable[[str], None]
) -> tuple[Layout, tuple[Parameter, ...]]:
    """Write `model.so` to `folder`, and return what belongs into its description.

    `progress` is told each phase before it begins. Raises BuildFailed for a shape without kernels or a linker that
    fails, OSError when the disk is full.
    """
    plan = plan_of(request)
    progress("building the graph")
    module, parameters = export(plan)
    progress("writing machine code")
    executable = tvm.compile(module, target=tvm_target(request.target))
    progress("linking")
    apple = "apple" in request.target.triple

    def link_objects(output: str, objects: list[str], _options: object = None, **_: object) -> None:
        link(linker, [Path(o) for o in objects], Path(output), apple=apple)

    executable.export_library(str(folder / LIBRARY_FILE), fcompile=link_objects, workspace_dir=str(folder))
    return describe_layout(plan), describe_parameters(plan, parameters)


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


def describe_parameters(plan: Plan, parameters: list[tuple[str, Any]]) -> tuple[Parameter, ...]:
    """Names, shapes (a symbol's name where the adapter's rank decides) and dtypes, in the order of the call."""
    parts = linear_parts(plan)
    described = []
    for name, parameter in parameters:
        shape = tuple(int(size) if isinstance(size, int | tvm.tirx.IntImm) else plain(size) for size in parameter.shape)
        owner = next((parts[owner] for owner in parts if name.startswith(f"{owner}.")), ())
        described.append(Parameter(plain(name), shape, plain(parameter.dtype), owner))
    return tuple(described)


def plain(text: object) -> str:
    """TVM's strings as Python's own."""
    return "".join(str(text))
