"""Where the remote server is and what it is shown: an address that the user wrote, and a token that is written nowhere else."""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from local_runtime.errors import BadRequest
from local_runtime.places import places

TOKEN_VARIABLE = "UNDERSTUDY_REMOTE_TOKEN"
TOKEN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """A server that speaks OpenAI's completions below `url`."""

    url: str
    """Without `/v1` and without a slash at its end."""
    host: str
    """Host, and port if it is given: what people are shown."""
    token: str | None = field(default=None, repr=False)


def parse_address(address: str, token: str | None = None, *, plain_http: bool = False) -> RemoteAddress:
    """Check an address. `http` only leads to this machine, unless `plain_http`. Raises BadRequest."""
    try:
        parts = urlsplit(address)
        hostname, port = parts.hostname, parts.port
    except ValueError as problem:
        raise BadRequest(f"the address {address[:200]!r} is none: {problem}", _remedy()) from None
    if parts.scheme not in ("http", "https") or not hostname:
        raise BadRequest(f"the address {address[:200]!r} is none: expected https://HOST[:PORT][/PATH]", _remedy())
    if parts.username is not None or parts.query or parts.fragment:
        raise BadRequest(
            f"the address of {hostname} holds more than host and path: a token belongs in {TOKEN_VARIABLE} or {token_file()}",
            _remedy(),
        )
    if parts.scheme == "http" and not is_loopback(hostname) and not plain_http:
        raise BadRequest(
            f"{hostname} would be sent your code in the clear: expected https://, or this machine",
            f"write plain_http = true into {places().config_file} if the way there is safe",
        )
    host = f"[{hostname}]" if ":" in hostname else hostname
    host = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/").removesuffix("/v1")
    return RemoteAddress(f"{parts.scheme}://{host}{path}", host, token)


def is_loopback(hostname: str) -> bool:
    """Whether a host name is this machine's own."""
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def token_file() -> Path:
    """Where the token may be kept, readable by this user alone."""
    return places().config / "remote-token"


def read_token() -> str | None:
    """The token of the environment, or of its file; None without either. Raises BadRequest for a file that others can read."""
    path = token_file()
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        try:
            found = path.stat()
            if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise BadRequest(f"{path} can be read by others", f"chmod 600 {path}")
            with path.open("rb") as file:
                token = file.read(TOKEN_BYTES).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise BadRequest(f"{path} cannot be read: {problem.strerror}") from None
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise BadRequest(f"the token for the remote server is none: expected one word of ASCII ({path})")
    return token or None


def _remedy() -> str:
    return f"$EDITOR {places().config_file}"
