"""What stands before the loopback port: a token, and a check against web pages that point a name at 127.0.0.1."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from local_runtime.daemon.foreign.routes import refusal_at
from local_runtime.daemon.http import HttpProblem
from local_runtime.places import folder

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
UNIX_ONLY = "/v1/runtime/"
TOKEN_PATH = "/t/"
"""`/t/TOKEN/…` is `/…` with the token: for clients that can be given an address, but no header of one's own."""


class LoopbackGuard:
    """Lets through requests that carry the token and were addressed to this machine by name or number."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """401 without the token, 403 for a foreign Host or Origin, in the words of the dialect that was asked."""
        given, scope = _token_and_rest(scope)
        problem = self._problem(scope, given)
        if problem is None:
            await self._app(scope, receive, send)
            return
        answer = refusal_at(scope["path"])(problem)
        if problem.status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send)

    def _problem(self, scope: Scope, in_path: bytes | None) -> HttpProblem | None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers and name in (b"host", b"origin", b"authorization"):
                return HttpProblem(400, f"the header {name.decode()} is given twice")
            headers[name] = value
        # DNS rebinding: a page's own name resolves to 127.0.0.1, but the browser still sends that name.
        if not _is_loopback("//" + headers.get(b"host", b"").decode("latin-1")):
            return HttpProblem(
                403, "the Host header does not name this machine: use 127.0.0.1 or localhost", "forbidden"
            )
        if b"origin" in headers and not _is_loopback(headers[b"origin"].decode("latin-1")):
            return HttpProblem(403, "requests from web pages are refused", "forbidden")
        scheme, _, in_header = headers.get(b"authorization", b"").partition(b" ")
        # A client that is given the token in the address may send a header of its own, which is nothing to us.
        given = in_header.strip() if in_path is None and scheme.lower() == b"bearer" else in_path or b""
        if not hmac.compare_digest(given, self._token):
            return HttpProblem(
                401,
                "this port needs `Authorization: Bearer TOKEN`, or a path below `/t/TOKEN`",
                "unauthorized",
                "understudy runtime status --token",
            )
        if scope["path"].startswith(UNIX_ONLY):
            return HttpProblem(403, "this is answered on the Unix socket alone", "forbidden")
        return None


def _token_and_rest(scope: Scope) -> tuple[bytes | None, Scope]:
    """The token in the path, if there is one, and the scope without it: nothing behind here ever sees it."""
    path: str = scope["path"]
    if not path.startswith(TOKEN_PATH):
        return None, scope
    token, _, rest = path.removeprefix(TOKEN_PATH).partition("/")
    return token.encode(), {**scope, "path": "/" + rest, "raw_path": ("/" + rest).encode()}


def read_token(path: Path) -> str:
    """The token of this user's port, made at first use, readable by them alone."""
    try:
        token = path.read_text().strip()
        if len(token) >= 32:
            path.chmod(0o600)
            return token
    except FileNotFoundError:
        pass
    folder(path.parent)
    token = secrets.token_urlsafe(32)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    partial.replace(path)
    return token


def _is_loopback(address: str) -> bool:
    try:
        return urlsplit(address).hostname in LOOPBACK
    except ValueError:
        return False
