"""What SLURM's words mean: was something refused, left unclear, or could nobody be asked; and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from segbatch.errors import SegbatchError


class SlurmError(SegbatchError):
    """A program of SLURM did not do what it was asked.

    Args:
        tried: what was asked, such as `sbatch script-1.sbatch`.
        words: SLURM's own words, without the names of its programs.
        advice: what to do next; found by the words where it is left out.
    """

    outcome = "failed"
    then = ""
    """What to do, for all errors of a kind."""
    passing = False
    """Another try may do better."""

    def __init__(self, tried: str, words: str, advice: str | None = None) -> None:
        self.tried = tried
        self.words = words
        self.passing = isinstance(self, SlurmUnclearError | SlurmUnavailableError) and not _first(_NOBODY, words)
        self.unknown_job = "invalid job id" in words.lower()
        advice = advice_on(words) if advice is None else advice
        then = self.then if self.passing else ""
        super().__init__(" ".join(filter(None, [f"{tried}: {self.outcome}: {words}{_stop(words)}", advice, then])))


class SlurmRefusedError(SlurmError):
    """SLURM said no: nothing was queued or changed."""

    outcome = "SLURM refused"


class SlurmUnclearError(SlurmError):
    """The answer was lost: what was asked may have been done, or not."""

    outcome = "SLURM did not answer"
    then = "It may have been done all the same: look before you ask again."


class SlurmUnavailableError(SlurmError):
    """There is nobody to ask: no program, no controller, no accounting. Nothing was changed."""

    outcome = "SLURM cannot be asked"
    then = "Try again in a minute."


@dataclass(frozen=True)
class Phrase:
    """Words by which SLURM is recognised to mean something."""

    pattern: str
    advice: str = ""


# What a lost connection sounds like. sbatch may have queued its job all the same: slurmctld that is too busy to answer
# in MessageTimeout still does what it was sent.
_UNCLEAR = (
    Phrase("socket timed out|timed out", "The controller is busy or stopped."),
    Phrase("unable to contact slurm controller", "slurmctld does not answer; `scontrol ping` says whether it is up."),
    Phrase("zero bytes were transmitted|unexpected message received|slurm_receive_msg|transport endpoint"),
    Phrase(
        "connection (refused|reset|failure|timed out)|broken pipe|communications? (connection|shutdown|send|receive)"
    ),
    Phrase("message (receive|send) failure|insane message length|header lengths|incomplete (message|packet)"),
    Phrase("backup controller|in standby", "The site is changing to its backup controller."),
    Phrase(
        "authentication|credential|munge|protocol version|incompatible versions",
        "Identities could not be checked: is munged running here, and is this SLURM as new as the controller's?",
    ),
)
# Nothing can have been sent.
_NOBODY = (
    Phrase(
        "could not establish a configuration source|unable to (process|open) configuration file|parsing error|"
        "cannot stat file",
        "SLURM's own settings were not found or not understood: is SLURM_CONF right, is this a login node?",
    ),
    Phrase(
        "accounting storage is disabled|not running a supported accounting_storage",
        "This site keeps no accounts of jobs; what the run folder says still holds.",
    ),
    Phrase("problem talking to the database|persist_?conn|persistinit", "The accounting database does not answer."),
)
_REFUSED = (
    Phrase("invalid partition", "Set `partition` in the site file to one that `sinfo -s` lists."),
    Phrase(
        "invalid account",
        "Set `account` in the site file; `sacctmgr show assoc user=$USER format=Account,Partition,QOS` lists yours.",
    ),
    Phrase(
        "invalid qos",
        "Set `qos` in the site file to one that `sacctmgr show assoc user=$USER format=Account,QOS` lists.",
    ),
    Phrase(
        "invalid job array specification",
        "The array's highest index is not below the site's MaxArraySize; `scontrol show config` tells it.",
    ),
    Phrase(
        "node configuration is not available|memory specification can not be satisfied|node count specification",
        "No node has that much: ask for fewer `gpus`, `cpus` or less `memory` under `resources`, or for another "
        "partition; `sinfo -o '%P %c %m %G'` tells what nodes have.",
    ),
    Phrase(
        r"invalid generic resource|invalid (gres|tres)",
        "The site names its GPUs differently: see `gpu_type` in the job and `gpu_flavour` in the site file; "
        "`sinfo -o '%P %G'` tells the names.",
    ),
    Phrase(
        "invalid feature specification",
        "Set `constraint` in the site file to features that `sinfo -o '%N %f'` lists.",
    ),
    Phrase("reservation", "Set `reservation` in the site file to one that `scontrol show reservation` lists for you."),
    Phrase(
        "maxsubmit|grpsubmit|submitjob|violates accounting/qos policy",
        "You have, or would have, more jobs or larger ones than the site allows: wait until some have ended, or lower "
        "`tasks`, `time` or `gpus`.",
    ),
    Phrase(
        "requested time limit is invalid|invalid --time|time limit",
        "Lower `time` under `resources`; `sinfo -o '%P %l'` tells each partition's longest.",
    ),
    Phrase(
        "resource temporarily unavailable|temporarily unable to accept job",
        "The site's queue is full (MaxJobCount); try again when jobs have ended.",
    ),
    Phrase("invalid node name", "Set `exclude` in the site file to nodes that `sinfo -N` lists."),
    Phrase(
        "unrecognized option|invalid option|try .sbatch --help|invalid --",
        "Correct the key of that name under `slurm:` in the job or the site file; `sbatch --help` lists what it takes.",
    ),
    Phrase("batch script|unable to open file|line breaks", "Correct the site's template of the batch script."),
    Phrase("can not be altered now", "It is just starting or ending; try again in a minute."),
    Phrase("requeue|requested operation is presently disabled", "The site or the job allows no requeue."),
    Phrase("already completing|already finished|job/step already", "It has ended meanwhile."),
    Phrase("invalid job id", "SLURM does not know the job (any more)."),
    Phrase(
        "permission denied|access denied|not permitted|not allowed|not authorized", "Ask the site's administrators."
    ),
    Phrase("plugin|unspecified error", "The site's own rules refused the job; its documentation tells what they want."),
    Phrase(
        "invalid|not available|unavailable|limit|exceed|denied|disabled|unsupported|not supported|dependency problem"
    ),
    Phrase("ambiguous|required|must (be|specify)|unknown (option|job signal)|update of this parameter"),
)


def _stop(words: str) -> str:
    return "" if words.endswith((".", "!", "?")) else "."


def _first(phrases: tuple[Phrase, ...], words: str) -> Phrase | None:
    return next((phrase for phrase in phrases if re.search(phrase.pattern, words, re.IGNORECASE)), None)


def advice_on(words: str) -> str:
    """Say what to do about SLURM's words; empty where the words are new."""
    for phrases in (_NOBODY, _UNCLEAR, _REFUSED):
        phrase = _first(phrases, words)
        if phrase:
            return phrase.advice
    return ""


def error_of(tried: str, words: str, *, changes: bool) -> SlurmError:
    """Judge a program that failed.

    Args:
        tried: what was asked.
        words: what it said, without the names of the programs.
        changes: it would have queued or changed something; then unknown words count as unclear, since the answer may
            have been lost after the deed.
    """
    nobody, unclear, refused = (_first(phrases, words) for phrases in (_NOBODY, _UNCLEAR, _REFUSED))
    if refused and not nobody and not unclear:
        return SlurmRefusedError(tried, words)
    return lost_answer(tried, words, changes=changes)


def lost_answer(tried: str, words: str, *, changes: bool) -> SlurmError:
    """Tell of a program that gave no answer, with what it had said until then (see `error_of`)."""
    if changes and not _first(_NOBODY, words):
        return SlurmUnclearError(tried, words)
    return SlurmUnavailableError(tried, words)


def plain_words(text: str) -> str:
    """Leave out the names of SLURM's programs: `sbatch: error: Batch script is empty!` is `Batch script is empty!`."""
    lines = (re.sub(r"^\s*(s[a-z]+|scontrol): (?:(error|fatal|warning): )?", "", line) for line in text.splitlines())
    return "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))
