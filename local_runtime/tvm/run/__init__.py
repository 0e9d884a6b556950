"""The compiled engine: TVM's small runtime, KV pages, sampling, adapters. Imports `tvm_ffi`, never `tvm`."""
