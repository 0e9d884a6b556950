"""The ground floor: model folders, the compiled engine, the daemon, prompts and context.

Knows nothing of editors or of training: it imports neither `lsp_server` nor `trainer`. `tvm` (the compiler) is imported
in `local_runtime.tvm.build` alone; `tvm_ffi` (the small runtime) in `local_runtime.tvm.run` alone; the client, `fim` and
`context` import neither, so that an editor's process stays light.
"""

__version__ = "0.1.0"
