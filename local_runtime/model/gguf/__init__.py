"""GGUF, the file format of llama.cpp: its header, configuration, tokenizer and weights, read without trust."""
