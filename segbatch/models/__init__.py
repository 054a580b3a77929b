"""Networks: encoders, decoders and architectures under names, and the bundles that trained ones are kept in.

A new network is one new file in this folder; every file here is read when a name is first looked up.

- An encoder is a class with the members of `registry.Encoder`, under `@ENCODERS.register("my_encoder")`.
- A decoder is a function with the signature of `registry.Decoder`, under `@DECODERS.register("my_decoder")`.
- An architecture is a class with the members of `registry.Architecture`, under `@ARCHITECTURES.register("my_net")`.

Its name then works in a job: `model: {encoder: my_encoder}` or `model: {architecture: my_net}`.
"""
