"""Kernels, the decoder and the build. The only package that imports `tvm`; loaded to compile, never to serve."""
