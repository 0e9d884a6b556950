"""Which files are worth learning from: pure rules, each with a name, so that the manifest can count what they dropped.

Dropped: what nobody wrote by hand (generated, minified, tables), what belongs to somebody else (vendored), what teaches no
style (test fixtures, translations), and what must never be recited (licences, e-mail addresses, keys).
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePosixPath

LANGUAGES = {
    ".py": "python",
    ".ts": "typescript", ".tsx": "typescript", ".mts": "typescript",
    ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascript",
}  # fmt: skip
MIN_CHARS = 300
MAX_CHARS = 200_000

_FOREIGN = {
    "_vendor",
    "vendor",
    "vendored",
    "vendors",
    "third_party",
    "thirdparty",
    "extern",
    "externals",
    "node_modules",
}
_FIXTURES = {
    "test",
    "tests",
    "testing",
    "__tests__",
    "__mocks__",
    "fixtures",
    "fixture",
    "testdata",
    "test_data",
    "benchmarks",
}
_BUILT = {"dist", "build", "umd", "cjs", "esm", "min", "locale", "locales", "generated", "_generated", "migrations"}
_TEST_NAME = re.compile(r"(^|[._-])(tests?|spec|stories)[._-]|^conftest\.py$|_tests?\.py$")
_BUILT_NAME = re.compile(
    r"\.(min|bundle|umd|d)\.[cm]?[jt]sx?$|_pb2(_grpc)?\.py$|^(_?version|__version__|unicode_?data)\.py$"
)
_GENERATED = re.compile(
    r"@generated|auto-?generated|generated (by|from|with|using)|do not (edit|modify)|don't edit", re.I
)
_LEGAL = re.compile(
    r"copyright|\(c\) ?\d{4}|©|spdx-|all rights reserved|licen[sc]ed (under|to)|permission is hereby|without warrant",
    re.I,
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)*\.[a-zA-Z]{2,}")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}|\bxox[abprs]-[\w-]{10,}|\bsk-\w{20,}|\beyJ[\w-]{20,}\.[\w-]{20,}"
)
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{120,}|(\\x[0-9a-fA-F]{2}){16,}")
_SENTINEL = re.compile(r"<\|?(fim_(prefix|suffix|middle|pad)|endoftext|file_sep|repo_name)\|?>")
_HEADER = re.compile(r"\A(?:[ \t]*(?:#|//).*\n|[ \t]*\n|/\*(?:[^*]|\*(?!/))*\*/[ \t]*\n)+")


class Drop(StrEnum):
    """Why a file was left out."""

    LANGUAGE = "another language"
    FOREIGN = "vendored"
    FIXTURE = "test or fixture"
    BUILT = "built or translated"
    ENCODING = "not plain UTF-8"
    SIZE = "too short or too long"
    GENERATED = "says it is generated"
    MINIFIED = "minified or a table"
    LEGAL = "licence text"
    EMAIL = "e-mail address"
    SECRET = "key or blob"
    SENTINEL = "holds a sentinel"
    EXACT = "exact duplicate"
    NEAR = "near duplicate"
    SHARE = "package's share is full"


def path_verdict(path: str) -> str | Drop:
    """The language of a file, or why its path alone rules it out."""
    inside = PurePosixPath(path)
    folders = {part.lower() for part in inside.parts[:-1]}
    language = LANGUAGES.get(inside.suffix)
    if language is None:
        return Drop.LANGUAGE
    if folders & _FOREIGN:
        return Drop.FOREIGN
    if folders & _FIXTURES or _TEST_NAME.search(inside.name.lower()):
        return Drop.FIXTURE
    if folders & _BUILT or _BUILT_NAME.search(inside.name.lower()):
        return Drop.BUILT
    return language


def text_verdict(data: bytes) -> str | Drop:
    """The text of a file, its licence header taken off and its line ends plain, or why it is left out."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return Drop.ENCODING
    if "\0" in text or sum(map(str.isascii, text)) < 0.97 * len(text):
        return Drop.ENCODING
    if _GENERATED.search(text[:3000]):
        return Drop.GENERATED
    text = without_header(text)
    for drop, found in (
        (Drop.SIZE, not MIN_CHARS <= len(text) <= MAX_CHARS),
        (Drop.MINIFIED, _looks_minified(text)),
        (Drop.LEGAL, _LEGAL.search(text)),
        (Drop.EMAIL, _EMAIL.search(text)),
        (Drop.SECRET, _KEY.search(text) or _BLOB.search(text)),
        (Drop.SENTINEL, _SENTINEL.search(text)),
    ):
        if found:
            return drop
    return text


def without_header(text: str) -> str:
    """`text` without the comment block at its top when that speaks of licences or holds an address."""
    header = _HEADER.match(text)
    if header and (_LEGAL.search(header[0]) or _EMAIL.search(header[0]) or re.search(r"licen[sc]e", header[0], re.I)):
        return text[header.end() :]
    return text


def says_legal_words_or_address(text: str) -> bool:
    """Whether text holds licence wording or an e-mail address: what a model must not say unasked."""
    return bool(_LEGAL.search(text) or _EMAIL.search(text))


def _looks_minified(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    longest = max(map(len, lines), default=0)
    letters = sum(map(str.isalpha, text)) / max(len(text.replace(" ", "")), 1)
    return longest > 600 or len(text) / max(len(lines), 1) > 110 or letters < 0.45
