"""Builds the image, and runs the demo in it: `make image-test`, or `python -m tests.image [--full]`."""
