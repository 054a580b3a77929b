"""Telling by HTTP: a JSON message, signed with a secret that nobody gets to see."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import segbatch
from segbatch.cluster.notify.summary import Summary
from segbatch.errors import SegbatchError
from segbatch.spec.notify import Webhook, wrong_url

SIGNATURE = "X-Segbatch-Signature"
"""Header: `sha256=` and the hexadecimal HMAC-SHA256 (RFC 2104) of the body."""
TIMEOUT_S = 10.0
PAUSES_S = (1.0, 4.0)
"""Waits before a second and a third try."""
_TRY_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message that is led elsewhere would arrive as a GET without its body."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """Refuse every redirection."""
        return


def post(
    hook: Webhook,
    summary: Summary,
    environ: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
    now: float | None = None,
) -> None:
    """Post a summary; tried again where the other side may only be busy.

    Args:
        hook: where to, and where its secrets are.
        summary: what to say.
        environ: holds the secrets that are named by variable.
        sleep: waits so many seconds.
        now: seconds since the epoch, which the message holds.

    Raises:
        SegbatchError: it did not arrive; the message holds neither a secret nor more of the address than its host.
    """
    address = _address(hook, environ)
    secret = _value(hook.secret_file, hook.secret_env, environ, "secret")
    body = message(summary, time.time() if now is None else now)
    headers = {"Content-Type": "application/json", "User-Agent": f"segbatch/{segbatch.__version__}"}
    if secret:
        headers[SIGNATURE] = sign(body, secret)
    request = urllib.request.Request(address, body, headers, method="POST")
    trouble = ""
    for pause in (0.0, *PAUSES_S):
        if pause:
            sleep(pause)
        trouble, again = _try(request)
        if not trouble:
            return
        if not again:
            break
    raise SegbatchError(f"{place(address)}: {trouble}")


def message(summary: Summary, now: float) -> bytes:
    """Body of the message; `text` is what chat programs show."""
    values = {
        "title": summary.title,
        "text": f"{summary.title}\n{summary.text}",
        "time": round(now, 3),
        **summary.facts,
        "lines": list(summary.lines),
    }
    # Bytes of paths that are no UTF-8 come as question marks: JSON has no other way.
    return json.dumps(values, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")


def sign(body: bytes, secret: str) -> str:
    """Signature of a body, as its header has it."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def place(address: str) -> str:
    """What may be shown of an address: its host."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def _address(hook: Webhook, environ: Mapping[str, str]) -> str:
    if hook.url is not None:
        return hook.url
    address = _value(hook.url_file, hook.url_env, environ, "address")
    if wrong_url(address):
        source = hook.url_file or hook.url_env
        raise SegbatchError(f"the webhook's address in {source} is none: expected https://host/..., without a password")
    return address


def _value(file: str | None, variable: str | None, environ: Mapping[str, str], what: str) -> str:
    """Read a secret from where it is kept; empty where none is named."""
    if variable is not None:
        if not environ.get(variable):
            raise SegbatchError(f"the webhook's {what}: the environment variable {variable} is not set here")
        return environ[variable].strip()
    if file is None:
        return ""
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SegbatchError(f"the webhook's {what}: {file}: {words}") from None
    if not text:
        raise SegbatchError(f"the webhook's {what}: {file} is empty")
    return text


def _try(request: urllib.request.Request) -> tuple[str, bool]:
    """Send once; return what went wrong, and whether another try makes sense."""
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            return "", False
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered {error.code}", error.code in _TRY_AGAIN
    except urllib.error.URLError as error:
        reason = error.reason
        words = (reason.strerror or type(reason).__name__) if isinstance(reason, OSError) else type(reason).__name__
        return f"it cannot be reached: {words}", True
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Their words may hold the whole address.
        return f"the connection failed: {type(error).__name__}", not isinstance(error, ValueError)
