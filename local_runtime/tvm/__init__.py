"""Everything that needs TVM: `run` executes compiled models, `build` compiles them."""
