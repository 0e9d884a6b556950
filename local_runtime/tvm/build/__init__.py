"""Turns a decoder's shape into a shared library with Apache TVM. The only package that imports `tvm`.

Runs in a process of its own (`python -m local_runtime.tvm.build`), started by `local_runtime.tvm.run.library`: whoever completes
text never pays for the compiler. Knows nothing of weights: they come at run time, packed as `library.json` says.

One module per kind of kernel: `activations` (norm, SwiGLU, quantisation), `matmul`, `linear` (both together, with the
adapter), `embedding`, `attention`, `logits`; `forward` puts them together as one function. `vectors` and `isa` are the
arithmetic below them, `layout` and `projection` the shapes that they share, `plan` a decoder in these terms, `build` and
`assembly` what becomes of it; `linker` and `macros` stand beside. Those are a CPU's. For GPUs `gpu_linear` and `gpu_decoder`
describe the same decoder as a graph that TVM schedules, `gpu_plan` lists its tensors, `gpu_build` makes a library of it.
"""
