"""Turns a decoder's shape into a shared library with Apache TVM. The only package that imports `tvm`.

Runs in a process of its own (`python -m local_runtime.compiler`), started by `local_runtime.library`: whoever completes
text never pays for the compiler. Knows nothing of weights: they come at run time, packed as `library.json` says.

One module per kind of kernel: `activations` (norm, SwiGLU, quantisation), `matmul`, `linear` (both together, with the
adapter), `embedding`, `attention`, `logits`; `vectors` and `isa` are the arithmetic below them, `layout` the shapes that
they share, `decoder` the graph above, `build` and `assembly` what becomes of it.
"""
