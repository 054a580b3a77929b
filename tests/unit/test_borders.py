"""The one way down: which package may import which, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "segbatch"
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "spec": {"errors"},
    "runs": {"spec", "errors"},
    "cluster": {"runs", "spec", "errors"},
    "models": {"runs", "spec", "errors"},
    "data": {"runs", "spec", "errors"},
    "evaluation": {"models", "data", "runs", "spec", "errors"},
    "training": {"evaluation", "models", "data", "runs", "spec", "errors"},
    "inference": {"evaluation", "models", "data", "runs", "spec", "errors"},
    "demo": {"runs", "spec", "errors"},
    "worker": {"training", "inference", "evaluation", "runs", "spec", "errors"},
    "cli": {"cluster", "runs", "spec", "errors"},
    "__main__": {"cli"},
}
INSIDE_FUNCTIONS = {
    # Looking at pictures and painting them needs NumPy, Pillow or TensorFlow, but only when asked for.
    "cli": {"data", "demo", "evaluation", "inference", "training"},
}
LIGHT = "segbatch.demo.settings"
"""Numbers that the demo's options show as their defaults."""
HEAVY = {"tensorflow", "keras", "numpy", "pandas", "matplotlib", "rasterio", "PIL"}
CONTROL = ("cli", "cluster", "runs", "spec")


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield imported modules, and whether the import runs when the file is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in late
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, id(node) not in late
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) not in late


def place(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_nothing_imports_upward(repo: Path) -> None:
    wrong = []
    for module, path in modules(repo):
        here = place(module)
        if not here:
            continue
        for target, _ in imports(path):
            there = place(target)
            if not target.startswith(f"{PACKAGE}.") or there in (here, "__version__"):
                continue
            if there not in BELOW[here] | INSIDE_FUNCTIONS.get(here, set()):
                wrong.append(f"{module} imports {target}")
    assert not wrong


def test_no_two_files_import_each_other(repo: Path) -> None:
    known = dict(modules(repo))
    graph = {
        module: {target for target, _ in imports(path) if target in known and target != module}
        for module, path in known.items()
    }
    TopologicalSorter(graph).prepare()


def test_control_side_imports_nothing_heavy(repo: Path) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, path in modules(repo)
        if place(module) in CONTROL or place(module) == "worker"
        for target, at_import in imports(path)
        if at_import and target.split(".")[0] in HEAVY
    ]
    assert not wrong


def test_control_side_reaches_worker_packages_only_inside_functions(repo: Path) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, path in modules(repo)
        for target, at_import in imports(path)
        if at_import and place(target) in INSIDE_FUNCTIONS.get(place(module), set()) and not target.startswith(LIGHT)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "command", [[], ["submit"], ["status"], ["check"], ["demo"], ["preview"], ["models"], ["models", "gate"], ["bench"]]
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\nfrom segbatch.cli import cli\n"
        f"try: cli.main({[*command, '--help']!r})\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stderr.strip() == "[]"


def test_no_file_is_long(repo: Path) -> None:
    long = {module: lines for module, path in modules(repo) if (lines := len(path.read_text().splitlines())) > 400}
    assert not long
