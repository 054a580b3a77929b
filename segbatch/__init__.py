"""segbatch: batch segmentation jobs for GPU clusters."""

__version__ = "0.1.0"
