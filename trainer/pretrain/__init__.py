"""How the bundled model is made: named packages to clean text, a tokenizer, samples, a decoder, a folder that ships.

It stands beside the personal trainer and shares nothing with it but `local_runtime`: what is trained here is what `fim` asks.
"""
