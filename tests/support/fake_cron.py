"""Programs named crontab, scrontab and sendmail on PATH, which keep what they are given in a folder."""

from __future__ import annotations

from pathlib import Path

_TABLE = """\
#!/bin/sh
# Keeps a table in a file, with the answers of the real programs.
echo "$*" >>"{folder}/{name}.calls"
if [ -e "{folder}/{name}.disabled" ]; then echo "{name}: fatal: {name} is disabled on this cluster" >&2; exit 1; fi
table="{folder}/{name}.table"
case "$1" in
-l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for $(id -un)" >&2; exit 1; fi ;;
-r) rm -f "$table" ;;
*)
    if [ -n "$(tail -c 1 "$1")" ]; then echo "new crontab file is missing newline before EOF" >&2; exit 1; fi
    if grep -q "^refuse me" "$1"; then echo '"-":1: bad minute' >&2; exit 1; fi
    cat "$1" >"$table"
    ;;
esac
"""
_SENDMAIL = """\
#!/bin/sh
echo "$*" >>"{folder}/sendmail.calls"
cat >>"{folder}/mail.txt"
"""


class FakeCron:
    """A machine's tables of cron."""

    def __init__(self, folder: Path, *programs: str) -> None:
        """Make the programs: crontab, scrontab, sendmail."""
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        for name in programs:
            text = _SENDMAIL if name == "sendmail" else _TABLE
            path = self.bin / name
            path.write_text(text.format(folder=folder, name=name))
            path.chmod(0o755)

    def table(self, name: str = "crontab") -> str | None:
        """The table; None where there is none."""
        path = self.folder / f"{name}.table"
        return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else None

    def fill(self, text: str, name: str = "crontab") -> None:
        """What the user has in the table."""
        (self.folder / f"{name}.table").write_bytes(text.encode("utf-8", "surrogateescape"))

    def calls(self, name: str = "crontab") -> list[str]:
        """Arguments of each call so far."""
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def disable(self, name: str = "scrontab") -> None:
        """Let a program say that its cluster does without it."""
        (self.folder / f"{name}.disabled").touch()
