"""What is true of one cluster: the site file, which is never part of a job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from segbatch.errors import InputError
from segbatch.spec.document import Document, merged
from segbatch.spec.environment import expand
from segbatch.spec.keep import Keep
from segbatch.spec.notify import Notices, notices_conflicts
from segbatch.spec.passthrough import option_conflicts, wrong_text
from segbatch.spec.paths import resolve_paths
from segbatch.spec.problems import JobFileError, Problem, did_you_mean, shown
from segbatch.spec.resources import VARIABLE, Container
from segbatch.spec.schedule import SiteCron
from segbatch.spec.section import Conflict, FileName, KeyPath, Section
from segbatch.spec.validate import Checked, Validator
from segbatch.spec.yaml_source import read_yaml

SITE_VARIABLE = "SEGBATCH_SITE"
_OPTIONS = ("account", "partition", "finish_partition", "qos", "constraint", "reservation", "exclude")
_PROFILES: KeyPath = ("profiles",)
_FILES: tuple[KeyPath, ...] = (
    ("runs",),
    ("registry",),
    ("python",),
    ("container", "image"),
    *(("templates", name) for name in ("train", "predict", "finish")),
)
_SHELL = (("scratch",), ("prolog",), ("cron", "profile"))
"""Keys whose text a shell expands."""

Text = Annotated[str, Field(min_length=1)]


class EndWarning(Section):
    """The signal by which a task learns that its time is nearly over."""

    signal: Literal["USR1", "USR2", "HUP"] = "USR1"
    """Name of the signal, another one than a library in the task uses for itself."""
    seconds: Annotated[int, Field(ge=1, le=65535)] = 120
    """Seconds before the end: time for one batch or one checkpoint."""


class Templates(Section):
    """Batch script templates of the site's own, in place of the built-in ones."""

    train: FileName | None = None
    """Template of training tasks."""
    predict: FileName | None = None
    """Template of predicting and evaluating tasks."""
    finish: FileName | None = None
    """Template of the task that merges and reports."""


class PriorityOptions(Section):
    """What a priority means here."""

    qos: Text | None = None
    """Quality of service."""
    partition: Text | None = None
    """Partition."""
    nice: int | None = None
    """Lowers (or, for administrators, raises) the scheduling priority."""


class SiteLimits(Section):
    """Limits of the scheduler, where what it says of itself is wrong or cannot be asked."""

    max_array_size: Annotated[int, Field(ge=1)] | None = None
    """MaxArraySize: array indexes stay below it."""
    max_jobs: Annotated[int, Field(ge=1)] | None = None
    """MaxJobCount: jobs that the controller keeps."""
    max_submit: Annotated[int, Field(ge=1)] | None = None
    """MaxSubmitJobs: jobs that this user may have in the queue."""


class SiteSettings(Section):
    """Settings of a site, or of one of its profiles."""

    backend: Literal["auto", "local", "slurm"] = "auto"
    """Where tasks run. `auto`: on SLURM where `sbatch` is found, else on this machine."""
    parallel: Annotated[int, Field(ge=1)] | None = None
    """Tasks at once on this machine. Defaults to 1."""
    runs: FileName | None = None
    """Folder that holds all runs of jobs that name none, relative to the site file."""
    registry: FileName | None = None
    """Folder of the registered models, relative to the site file. Defaults to `registry` beside the runs."""
    account: Text | None = None
    """Account that is charged (`--account`)."""
    partition: Text | None = None
    """Partition, or several with commas (`--partition`)."""
    qos: Text | None = None
    """Quality of service (`--qos`)."""
    constraint: Text | None = None
    """Features that nodes must have (`--constraint`)."""
    reservation: Text | None = None
    """Reservation to run in (`--reservation`)."""
    exclude: Text | None = None
    """Nodes to keep away from (`--exclude`)."""
    finish_partition: Text | None = None
    """Partition of the task that merges and reports, which needs no GPU. Defaults to `partition`."""
    priorities: dict[Literal["low", "normal", "high"], PriorityOptions] = {}
    """What `resources.priority` stands for."""
    gpu_types: dict[str, Text] = {}
    """What this site calls kinds of GPU: `a100: nvidia_a100_80gb_pcie`."""
    warning: EndWarning = EndWarning()
    """How tasks learn that their time is nearly over."""
    templates: Templates = Templates()
    """Batch script templates of the site's own."""
    limits: SiteLimits = SiteLimits()
    """Limits of the scheduler, where what it says of itself is wrong."""
    gpu_flavour: Literal["gres", "gpus-per-node", "gpus-per-task"] = "gres"
    """The option by which this site wants GPUs asked for."""
    modules: tuple[Text, ...] = ()
    """Environment modules to load before a task."""
    prolog: tuple[str, ...] = ()
    """Shell lines to run before a task, as they are."""
    scratch: Text | None = None
    """Folder on the node's own disk, such as $TMPDIR; the node's shell expands it."""
    python: FileName | None = None
    """Python that runs tasks outside containers. Defaults to the one that runs this command."""
    container: Container | None = None
    """The image that tasks run in, for jobs that name none."""
    environment: dict[str, str] = {}
    """Environment variables of tasks."""
    cron: SiteCron = SiteCron()
    """How `segbatch schedule` starts jobs."""
    notify: Notices = ()
    """Who is told when a run ends, for jobs that name nobody."""
    keep: Keep | None = None
    """What `segbatch prune` leaves of the runs of jobs that do not say it."""
    min_poll_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Shortest time between two questions to the scheduler."""
    slurm: dict[str, str | int | bool] = {}
    """Further sbatch options, passed on as they are."""

    def conflicts(self) -> Iterator[Conflict]:
        """Text that cannot stand in a script, and options said twice."""
        for key in self.given(*_OPTIONS):
            message = wrong_text(getattr(self, key))
            if message:
                yield Conflict((key,), message)
        for position, module in enumerate(self.modules):
            if not module.isprintable() or set(module) & set(" \"'`$;&|<>\\"):
                message = f"expected the name of a module, such as cuda/12.4, received {module!r}"
                yield Conflict(("modules", position), message)
        for name, value in self.environment.items():
            if not VARIABLE.fullmatch(name) or "\0" in value:
                message = f"expected the name of an environment variable, received {name!r}"
                yield Conflict(("environment", name), message)
        for level, options in self.priorities.items():
            for key in ("qos", "partition"):
                if message := wrong_text(getattr(options, key) or ""):
                    yield Conflict(("priorities", level, key), message)
        for kind, name in self.gpu_types.items():
            if message := wrong_text(name):
                yield Conflict(("gpu_types", kind), message)
        yield from option_conflicts(self.slurm)
        yield from notices_conflicts(self.notify)
        for key in _OPTIONS:
            if key in self.slurm:
                yield Conflict(("slurm", key), f"say --{key} as `{key}`, a key of the site file")


class Site(SiteSettings):
    """A site file."""

    profiles: dict[str, SiteSettings] = {}
    """Named settings that replace those above for jobs that say `profile: name`."""


def find_site(
    explicit: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    home: Path | None = None,
) -> Path | None:
    """Find the site file: `--site`, SEGBATCH_SITE, ./site.yaml, ~/.config/segbatch/site.yaml, in this order.

    Raises:
        InputError: `--site` or SEGBATCH_SITE names a file that is not there.
    """
    environ = os.environ if environ is None else environ
    named = [("--site", explicit), (SITE_VARIABLE, environ.get(SITE_VARIABLE))]
    for source, name in named:
        if name:
            path = Path(name).expanduser()
            if not path.is_file():
                raise InputError(f"{source}: {shown(path)}: no such file. Expected a site file (YAML).")
            return path
    places = ((cwd or Path.cwd()) / "site.yaml", (home or Path.home()) / ".config" / "segbatch" / "site.yaml")
    return next((path for path in places if path.is_file()), None)


def load_site(path: Path | str | None, profile: str | None = None, environ: Mapping[str, str] | None = None) -> Site:
    """Read and validate a site file, with one of its profiles laid over it.

    Args:
        path: the site file; None for a site of defaults.
        profile: name of a profile; None for the site alone.
        environ: environment for `${VAR}` and `~`; defaults to the process's own.

    Returns:
        The site; its `profiles` are empty, since the chosen one has been taken in.

    Raises:
        JobFileError: with every problem of the file, those of all profiles included.
        InputError: a profile is asked for where there is no site file.
    """
    if path is None:
        if profile is not None:
            raise InputError(
                f"profile {profile!r} is part of a site file, and none was found. "
                f"Name one by --site or {SITE_VARIABLE}, or put it at ./site.yaml or ~/.config/segbatch/site.yaml."
            )
        return Site()
    environ = os.environ if environ is None else environ
    path = Path(path)
    document = read_yaml(path, shown(path))
    expansion = expand(document, environ, keep=_for_the_shell)
    profiles = document.at(_PROFILES)
    bases: list[KeyPath] = [(), *(("profiles", name) for name in (profiles if isinstance(profiles, dict) else ()))]
    files: list[KeyPath] = [(*base, *key) for base in bases for key in _FILES]
    doubtful = expansion.doubtful | resolve_paths(document, files, (), expansion.imported, environ)
    checked = Validator(Site, document, doubtful, judged_later=_PROFILES).run()
    problems = document.problems + checked.problems
    known = list(profiles) if isinstance(profiles, dict) else []
    if profile is not None and profile not in known:
        problems.append(_unknown_profile(document, profile, known))
    variants = {name: _with_profile(document, name, checked.doubtful) for name in document.at(_PROFILES) or ()}
    problems += [problem for variant in variants.values() for problem in variant.problems]
    site = variants[profile].value if profile in variants else checked.value
    if problems or site is None:
        raise JobFileError(problems)
    return site.model_copy(update={"profiles": {}})


def _for_the_shell(path: KeyPath) -> bool:
    inner = path[2:] if path[0] == "profiles" else path
    return any(inner[: len(key)] == key for key in _SHELL)


def _unknown_profile(document: Document, profile: str, known: Sequence[str]) -> Problem:
    place = document.place(_PROFILES)
    origin = place.start if document.holds(_PROFILES) else replace(place.value, line=0)
    message = f"no profile {profile!r} in this site file.{did_you_mean(profile, known)}"
    return Problem(origin, message, f"Profiles: {', '.join(known) or 'none'}.")


def _with_profile(document: Document, profile: str, doubtful: set[KeyPath]) -> Checked[Site]:
    """Lay a profile over the site: mappings merge key by key, anything else replaces."""
    here = (*_PROFILES, profile)
    over = Document(document.at(here), {path[2:]: place for path, place in document.places.items() if path[:2] == here})
    base = Document({key: value for key, value in document.value.items() if key != "profiles"}, document.places)
    wrong = {path for path in doubtful if path[:1] != _PROFILES} | {path[2:] for path in doubtful if path[:2] == here}
    return Validator(Site, merged(base, over), wrong).run()
