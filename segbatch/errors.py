"""The errors a user may see, and the exit codes they lead to."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every segbatch command and task."""

    OK = 0
    FAILED = 1
    """Something that should have worked did not; the message says what."""
    BAD_INPUT = 2
    """The command line, the job file or the data was refused; nothing was started or written."""
    REJECTED = 3
    """Complete, but some tiles could not be read; report/rejected.csv names each with its reason."""
    TOO_MANY_REJECTED = 4
    """Stopped: more tiles were rejected than `predict.max_rejected` allows."""
    INTERRUPTED = 85
    """Stopped by a signal after finishing the batch in hand; `segbatch resume` continues."""


class SegbatchError(Exception):
    """A failure with a message meant for the user: what happened, where, and what to do next."""

    exit_code = Exit.FAILED


class InputError(SegbatchError):
    """The user's input (command line, job file, labels, data) cannot be used as it is."""

    exit_code = Exit.BAD_INPUT


class TooManyRejectedError(SegbatchError):
    """More tiles were rejected than the job allows."""

    exit_code = Exit.TOO_MANY_REJECTED


class Interrupted(SegbatchError):  # noqa: N818 - not a fault: the task did as it was told
    """A signal asked the task to stop; all that was finished is on disk."""

    exit_code = Exit.INTERRUPTED


class NothingToDo(SegbatchError):  # noqa: N818 - not a fault: everything is done already
    """What was asked for leaves nothing to do."""

    exit_code = Exit.OK


class NotNeeded(NothingToDo):
    """What was asked for is not needed; whoever waits for it may go on."""
