"""What must never be shown to a model or learnt from: secret files by their names, secret text by its looks.

The detectors are detect-secrets', used as a library: nothing is ever verified over a network. Around them stand a few token
formats that are younger than it, and a filter that spends its time only on lines that could hold a secret.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import PurePosixPath
from typing import Any

_SECRET_NAMES = """
.env .env.* *.env .envrc .netrc _netrc .npmrc .pypirc .pgpass .my.cnf .htpasswd .dockercfg .dockerconfigjson .git-credentials
.s3cfg .boto .vault-token .terraformrc terraform.rc *.tfvars *.tfvars.json *.tfstate *.tfstate.* *.tfplan
*.pem *.key *.p8 *.p12 *.pfx *.crt *.cer *.der *.csr *.jks *.keystore *.kdb *.kdbx *.ppk *.asc *.gpg *.pgp *.age *.ovpn
*.mobileprovision *.agekey *.kubeconfig kubeconfig kubeconfig.* id_rsa* id_dsa* id_ecdsa* id_ed25519* ssh_host_*_key* known_hosts
authorized_keys credentials credentials.* *credentials.json client_secret*.json service-account*.json service_account*.json
secret.* secrets.* *.secret *.secrets *secrets.y*ml secrets.toml vault.y*ml *.vault token token.* *.token
google-services.json GoogleService-Info.plist keyfile* passwd shadow passwords* *.password *.sqlite *.sqlite3 *.db *.dump
.bash_history .zsh_history .python_history .node_repl_history .psql_history .mysql_history .sqlite_history
"""
_EXAMPLE_NAMES = (".env.example", ".env.sample", ".env.template", ".env.dist")
_SECRET_SUFFIXES = (".py", ".ts", ".js", ".go", ".rs", ".java", ".c", ".h", ".cpp", ".rb")
_SECRET_FOLDERS = frozenset(
    {".aws", ".azure", ".docker", ".gcloud", ".gnupg", ".kube", ".password-store", ".ssh", ".secrets"}
)

# Formats that detect-secrets 1.5.0 does not know.
_YOUNGER = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|AGE-SECRET-KEY-1[0-9A-Z]{20}|github_pat_\w{22}|\bhf_[A-Za-z0-9]{30}|\bsk-(?:ant|proj)-[\w-]{20}"
    r"|\bAIza[\w-]{35}|\bya29\.[\w-]{20}|\bdop_v1_[0-9a-f]{40}|\bxapp-\d-[\w-]{20}|(?i:\bbearer\s+)[\w.~+/-]{24}"
    r"|(?m:^\s*(?:export\s+)?[A-Z0-9_]*(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY)[A-Z0-9_]*=[^\s'\"$(){}<]{8,}$)"
)
_KEYWORD = re.compile(r"(?i)key|pass|pwd|secret|token|cred|auth|private|contrase")
_LONG_RUN = re.compile(r"(?=[A-Za-z_/+=-]{0,99}\d)[A-Za-z0-9_/+=-]{13}|://|BEGIN|PuTTY")
_E_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}")
_NOBODY = re.compile(
    r"(?i)@(?:[\w-]+\.)*(?:example|test|invalid|localhost)(?:\.(?:com|org|net))?\Z|noreply|\A(?:git|svn)@"
)
_PRIVATE_KEY = re.compile(r"BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File|AGE-SECRET-KEY-1")
_MAX_LINE_CHARS = 4096
_REMEMBERED_CHARS = 4096


class SecretKind(StrEnum):
    """How much has to be thrown away."""

    KEY_FILE = "private key"  # its body follows: nothing of the file is safe
    SECRET = "secret"
    PERSONAL = "e-mail address"  # no secret, but nothing to learn from


@dataclass(frozen=True, slots=True)
class Finding:
    """Where something was found; never what it was."""

    kind: SecretKind
    line: int
    """Counted from 0."""


def is_secret_file(path: str) -> bool:
    """Whether a file is secret by its name or folder. `path` has forward slashes."""
    parts = PurePosixPath(path).parts
    if not parts or not _SECRET_FOLDERS.isdisjoint(parts[:-1]):
        return bool(parts)
    name = parts[-1].lower()
    if name in _EXAMPLE_NAMES:
        return False
    # `secrets.py` is code about secrets; whatever begins with `.env` is an environment, in any language.
    return bool(_names().match(name)) and (name.startswith(".env") or not name.endswith(_SECRET_SUFFIXES))


def has_secret(text: str, path: str = "") -> bool:
    """Whether `text` holds a secret (an e-mail address is none). Remembered for short texts, which come again."""
    return _remembered(text, path) if len(text) <= _REMEMBERED_CHARS else _holds_secret(text, path)


def _holds_secret(text: str, path: str) -> bool:
    return any(finding.kind is not SecretKind.PERSONAL for finding in find_secrets(text, path))


@functools.lru_cache(1024)
def _remembered(text: str, path: str) -> bool:
    return _holds_secret(text, path)


def find_secrets(text: str, path: str = "") -> tuple[Finding, ...]:
    """Every line that looks secret or personal, at most one finding per line and kind."""
    found = {Finding(_kind(match[0]), text.count("\n", 0, match.end())) for match in _YOUNGER.finditer(text)}
    for number, line in enumerate(text.split("\n")):
        whole = line[:_MAX_LINE_CHARS]
        if "@" in whole and any(not _NOBODY.search(address) for address in _E_MAIL.findall(whole)):
            found.add(Finding(SecretKind.PERSONAL, number))
        if (_LONG_RUN.search(whole) or _KEYWORD.search(whole)) and _detected(whole, path):
            found.add(Finding(_kind(whole), number))
    return tuple(sorted(found, key=lambda finding: (finding.line, finding.kind)))


def _kind(text: str) -> SecretKind:
    return SecretKind.KEY_FILE if _PRIVATE_KEY.search(text) else SecretKind.SECRET


@cache
def _names() -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(name.lower()) for name in _SECRET_NAMES.split()))


def _detected(line: str, path: str) -> bool:
    keyword, others, harmless = _detectors()
    detectors = [*keyword, *others] if _KEYWORD.search(line) else others
    for detector in detectors:
        for secret in detector.analyze_line(filename=path or "text", line=line, line_number=0):
            if not any(test(secret.secret_value or "", line, detector) for test in harmless):
                return True
    return False


def _has_no_format(detector: Any) -> bool:
    """Whether a detector goes by names and looks; the others know the very format of a token."""
    return type(detector).__name__ in ("KeywordDetector", "Base64HighEntropyString", "HexHighEntropyString")


def _is_quoted(secret: str, line: str) -> bool:
    return f'"{secret}"' in line or f"'{secret}'" in line


@cache
def _detectors() -> tuple[list[Any], list[Any], list[Any]]:
    """detect-secrets' keyword detector, its other detectors, and its tests for what only looks secret."""
    # It brings urllib3, which opens an IPv6 socket as it is imported, to see whether it could: no socket of ours is that.
    socket.has_ipv6 = False
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # noqa: PLC0415  80 ms
    from detect_secrets.filters import heuristic  # noqa: PLC0415

    found: Any = get_mapping_from_secret_type_to_class()  # its own annotations do not check
    detectors: dict[str, Any] = {kind.__name__: kind for kind in found.values()}
    detectors.pop("IPPublicDetector", None)
    keyword = [detectors.pop("KeywordDetector")()]
    others = [kind() for kind in detectors.values()]
    harmless = [
        lambda secret, line, detector: heuristic.is_sequential_string(secret),
        lambda secret, line, detector: heuristic.is_potential_uuid(secret),
        lambda secret, line, detector: heuristic.is_templated_secret(secret),
        lambda secret, line, detector: heuristic.is_prefixed_with_dollar_sign(secret),
        lambda secret, line, detector: heuristic.is_not_alphanumeric_string(secret),
        # a call or an index, `key = settings["x"]`, unless the secret itself stands there: `connect(password="...")`
        lambda secret, line, detector: (
            _has_no_format(detector) and heuristic.is_indirect_reference(line) and not _is_quoted(secret, line)
        ),
        heuristic.is_likely_id_string,
    ]
    return keyword, others, harmless
