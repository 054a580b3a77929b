"""Telling by a program of this machine: sendmail, or the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from email.message import EmailMessage

from segbatch.cluster.notify.summary import Summary
from segbatch.errors import SegbatchError

TIMEOUT_S = 60.0
_PLACES = "/usr/sbin:/usr/lib:/sbin"
"""Where sendmail lies, often outside PATH."""
_WORDS = 300


def send_mail(address: str, summary: Summary, environ: Mapping[str, str] = os.environ) -> None:
    """Send a summary by sendmail.

    Raises:
        SegbatchError: there is no such program here, or it refused.
    """
    program = shutil.which("sendmail", path=f"{environ.get('PATH', os.defpath)}:{_PLACES}")
    if program is None:
        raise SegbatchError("the program sendmail was not found here; on SLURM, `through: slurm` does without it")
    message = EmailMessage()
    message["To"] = address
    message["Subject"] = summary.title
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(summary.text)
    # -i: a line with a single dot does not end the message; the address follows -- since it is the user's text.
    _run([program, "-i", "--", address], message.as_bytes(), environ)


def run_command(argv: Sequence[str], summary: Summary, environ: Mapping[str, str] = os.environ) -> None:
    """Run a program with the summary on its standard input and the main facts in its environment.

    Raises:
        SegbatchError: it is not here, failed, or did not end in time.
    """
    facts = {
        "SEGBATCH_TITLE": summary.title,
        "SEGBATCH_OUTCOME": summary.outcome,
        "SEGBATCH_RUN": str(summary.facts.get("run", "")),
        "SEGBATCH_RUN_FOLDER": str(summary.facts.get("folder", "")),
    }
    _run(argv, summary.text.encode("utf-8", "surrogateescape"), {**environ, **facts})


def _run(argv: Sequence[str], text: bytes, environ: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            list(argv),
            input=text,
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise SegbatchError(f"{argv[0]} did not end within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise SegbatchError(f"{argv[0]} could not be started: {error.strerror or error}") from None
    if done.returncode:
        words = " ".join(done.stdout.decode(errors="replace").split())[:_WORDS]
        raise SegbatchError(f"{argv[0]} ended with exit code {done.returncode}{f': {words}' if words else ''}")
