"""Who is told of a run's end: `notify:` of a job or a site."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from segbatch.spec.resources import VARIABLE
from segbatch.spec.section import Conflict, Expected, FileName, Section

_WAYS = ("mail", "command", "webhook")


class Webhook(Section):
    """An address that gets a JSON message by HTTP POST, signed where there is a secret."""

    url: str | None = None
    """The address. One that is a secret itself belongs into a file or a variable."""
    url_file: FileName | None = None
    """File that holds the address: an absolute path, or one below `~`."""
    url_env: str | None = None
    """Environment variable that holds the address, where the message is sent."""
    secret_file: FileName | None = None
    """File that holds the secret of the signature: an absolute path, or one below `~`."""
    secret_env: str | None = None
    """Environment variable that holds the secret of the signature, where the message is sent."""

    def conflicts(self) -> Iterator[Conflict]:
        """No address or several, two secrets, and what is none of these."""
        addresses = self.given("url", "url_file", "url_env")
        if len(addresses) != 1:
            at = (addresses[1],) if addresses else ()
            yield Conflict(at, "a webhook has one address: `url`, `url_file` or `url_env`")
        if len(self.given("secret_file", "secret_env")) > 1:
            yield Conflict(("secret_env",), "a webhook has one secret: `secret_file` or `secret_env`")
        if self.url is not None and (message := wrong_url(self.url)):
            yield Conflict(("url",), message)
        for key in self.given("url_file", "secret_file"):
            name = getattr(self, key)
            if not name.startswith(("/", "~/")):
                yield Conflict((key,), f"expected an absolute path, or one that begins with ~/, received {name!r}")
        for key in self.given("url_env", "secret_env"):
            if not VARIABLE.fullmatch(getattr(self, key)):
                yield Conflict((key,), "expected the name of an environment variable, such as HOOK_SECRET")


class Notice(Section):
    """Someone to be told, and when."""

    on: Literal["end", "success", "failure"] = "end"
    """Of what: any end, a good one, or a bad one (also of a start that failed)."""
    mail: Annotated[str, Expected("a mail address")] | None = None
    """Mail address."""
    through: Literal["sendmail", "slurm"] = "sendmail"
    """Who sends the mail. `sendmail`: that program, with a summary, where the run ends. `slurm`: SLURM itself, a line
    on the job that merges and reports, also when that job cannot start or is killed."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Program and arguments to run; it gets the summary on standard input."""
    webhook: Webhook | None = None
    """Address to post the summary to."""

    def conflicts(self) -> Iterator[Conflict]:
        """Nobody or several at once, and addresses that are none."""
        ways = self.given(*_WAYS)
        if len(ways) != 1:
            at = (ways[1],) if ways else ()
            yield Conflict(at, "expected one of `mail`, `command` and `webhook`; each goes into an item of its own")
        if self.mail is not None and not _is_address(self.mail):
            yield Conflict(("mail",), f"expected one mail address, such as ana@example.org, received {self.mail!r}")
        if self.through == "slurm" and self.mail is None:
            yield Conflict(("through",), "`through: slurm` is for `mail`", (("mail",),))
        elif self.through == "slurm" and self.on == "success":
            message = "SLURM tells of any end or of failures; say `on: end` or `on: failure`, or `through: sendmail`"
            yield Conflict(("through",), message, (("on",),))
        for position, word in enumerate(self.command or ()):
            if "\0" in word:
                yield Conflict(("command", position), "a word of a command cannot hold the character U+0000")


Notices = tuple[Notice, ...]


def slurm_addresses(notices: Notices) -> list[str]:
    """Addresses that SLURM is to write to; it takes one."""
    return list(dict.fromkeys(notice.mail for notice in notices if notice.mail and notice.through == "slurm"))


def notices_conflicts(notices: Notices) -> Iterator[Conflict]:
    """Yield what a list of notices asks of SLURM that it cannot do; paths are relative to the list's owner."""
    addresses = slurm_addresses(notices)
    if len(addresses) > 1:
        at = next(at for at, notice in enumerate(notices) if notice.through == "slurm" and notice.mail == addresses[1])
        message = f"SLURM writes to one address, and {addresses[0]} is one already; use a list address, or sendmail"
        yield Conflict(("notify", at, "mail"), message)


def wrong_url(text: str) -> str:
    """Say why `text` is no address of a webhook, without repeating it, since it may be a secret; empty if it is one."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        return "expected an address such as https://hooks.example.org/segbatch"
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() or c < " " for c in text):
        return "expected an address such as https://hooks.example.org/segbatch"
    if parts.username is not None or parts.password is not None:
        return "an address with a password in it would end up in the run's folder; use `url_file` or `url_env`"
    return ""


def _is_address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    plain = text.isprintable() and not any(letter.isspace() or letter in ",;<>()\"'" for letter in text)
    return plain and not text.startswith("-") and (bool(name and host) if at else bool(host))
