"""Faults planted in the image: each must be found by the check that is there for it, for the right reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.image.building import PLANTED_HOST, Image
from tests.image.contract import entry_point, not_root, nothing_of_the_site, writes_nothing
from tests.image.machine import TOP
from tests.image.report import FaultError

_COPY = """
RUN --mount=type=secret,id=pip_conf,required=false cp /run/secrets/pip_conf /etc/pip.conf

"""
_LOG = 'open("/var/log/segbatch.log", "a").write("begun")'
_WRITE = f"""
RUN sed -i '1,/^from __future__/s|^from __future__.*|&\\n{_LOG}|' \\
    /opt/venv/lib/python3.11/site-packages/segbatch/worker.py \\
    && /opt/venv/bin/python -m compileall -q -f --invalidation-mode unchecked-hash \\
        /opt/venv/lib/python3.11/site-packages/segbatch/worker.py

"""
_MARK = "# Python must not look into a home folder"


@dataclass(frozen=True)
class Planted:
    """A change of the Dockerfile that makes a bad image."""

    name: str
    before: str
    after: str
    found_by: Callable[[Image], None]
    reason: str
    """Words that the check must say."""

    def build(self, good: Image) -> Image:
        """Build the bad image; all but its last layers are the good one's."""
        text = (TOP / "docker/Dockerfile").read_text()
        if text.count(self.before) != 1:
            raise FaultError(f"docker/Dockerfile no longer has {self.before!r} once: plant this fault elsewhere")
        name = re.sub(r"\W+", "-", self.name)
        changed = good.place.folder / f"Dockerfile-{name}"
        changed.write_text(text.replace(self.before, self.after))
        bad = Image(good.place, f"localhost/planted:{name}", good.requirements, good.base)
        bad.build("--file", changed)
        return bad

    def must_be_found(self, good: Image) -> None:
        """Check that it is found, and for its own sake.

        Raises:
            FaultError: it was not.
        """
        bad = self.build(good)
        try:
            self.found_by(bad)
        except Exception as error:
            said = f"{error}\n{getattr(error, 'stdout', '')}"
            if self.reason not in said:
                raise FaultError(f"found for another reason than {self.reason!r}: {said}") from error
            return
        raise FaultError(f"{self.found_by.__name__} did not find it")


PLANTED = (
    Planted("no user", "USER 65532:65532\n", "", not_root, "expected a number other than 0"),
    Planted("pip settings copied", _MARK, _COPY + _MARK, nothing_of_the_site, f"{PLANTED_HOST} in /etc/pip.conf"),
    Planted("a write outside", _MARK, _WRITE + _MARK, entry_point, "Read-only file system: '/var/log/segbatch.log'"),
    Planted("a write outside, where it can", _MARK, _WRITE + _MARK, writes_nothing, "/var/log/segbatch.log"),
)
