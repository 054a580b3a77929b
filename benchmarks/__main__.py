"""Runs every benchmark, or those named, and prints one table."""

from __future__ import annotations

import importlib
import sys

from segbatch.runs.allocator import begin_with_huge_pages

BENCHMARKS = (
    "help_time",
    "submit_time",
    "training_stream",
    "predict_stream",
    "predict_torch",
    "planning_scale",
    "archives",
    "predict_memory",
)


def main(names: list[str]) -> int:
    """Run the benchmarks; 1 if one falls short of its target."""
    short = 0
    for name in names or BENCHMARKS:
        for line, held in importlib.import_module(f"benchmarks.{name}").measure():
            print(f"{'ok   ' if held else 'SHORT'} {line}", flush=True)
            short += not held
    return int(bool(short))


if __name__ == "__main__":
    begin_with_huge_pages()
    sys.exit(main(sys.argv[1:]))
