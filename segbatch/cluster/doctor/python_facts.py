"""What a Python can do for tasks: a script that this Python itself runs; old ones must understand it too.

Prints a line a fact: its name, a tab, its value. With the argument `import`, TensorFlow is imported as well.
"""

import importlib.util
import platform
import sys
import time

NEEDED = ("numpy", "h5py", "PIL", "matplotlib")
TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tf-nightly", "tensorflow-rocm", "intel-tensorflow")


def say(name: str, value: object) -> None:
    """Print one fact."""
    print(name + "\t" + " ".join(str(value).split()), flush=True)


def is_there(module: str) -> bool:
    """Tell whether a module could be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def tensorflow_version() -> str:
    """Read TensorFlow's version from what its installer left."""
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:
        return "of unknown version"
    for name in TENSORFLOWS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of unknown version"


def import_tensorflow() -> None:
    """Import TensorFlow, for real, and count its GPUs."""
    began = time.time()
    try:
        import tensorflow

        gpus = tensorflow.config.list_physical_devices("GPU")
    except Exception as error:
        say("tensorflow_error", f"{type(error).__name__}: {error}")
        return
    say("tensorflow_seconds", round(time.time() - began, 1))
    say("tensorflow_gpus", len(gpus))


def main() -> None:
    """Print all facts."""
    say("python", platform.python_version())
    if is_there("segbatch"):
        import segbatch

        say("segbatch", getattr(segbatch, "__version__", "of unknown version"))
    missing = [name for name in NEEDED if not is_there(name)]
    if missing:
        say("missing", ", ".join(missing))
    if is_there("tensorflow"):
        say("tensorflow", tensorflow_version())
        if "import" in sys.argv[1:]:
            import_tensorflow()


if __name__ == "__main__":
    main()
