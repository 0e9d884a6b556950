"""The user's own commits become edits; merges, bulk, others' work and hostile repositories do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import EMAIL, commit, git, repository

from local_runtime.errors import BadRequest
from trainer.collect import git_history
from trainer.collect.git_history import back_fill
from trainer.collect.git_log import parsed
from trainer.collect.refusals import Refusal, Refused
from trainer.edits import EditEvent, Origin

DAY = 86_400.0
START = 1_700_000_000.0
FIRST = "def one():\n    return 1\n"
SECOND = FIRST + "\n\ndef two(value):\n    return value * 2\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return repository(tmp_path.resolve() / "project")


def _filled(root: Path, since: float = 0.0, **options: object) -> tuple[list[EditEvent], dict[str, Refusal]]:
    refused: dict[str, Refusal] = {}

    def report(one: Refused) -> None:
        refused[one.path.removeprefix(f"{root}/")] = one.reason

    return list(back_fill(root.as_posix(), since, report=report, **options)), refused  # type: ignore[arg-type]


def test_own_commits_become_edits_oldest_first(project: Path) -> None:
    commit(project, {"a.py": FIRST}, START)
    commit(project, {"a.py": SECOND, "b.py": "b = 1\n"}, START + DAY)
    edits, refused = _filled(project)
    root = project.as_posix()
    assert edits == [
        EditEvent(f"{root}/a.py", root, "python", "", FIRST, START, Origin.COMMIT),
        EditEvent(f"{root}/a.py", root, "python", FIRST, SECOND, START + DAY, Origin.COMMIT),
        EditEvent(f"{root}/b.py", root, "python", "", "b = 1\n", START + DAY, Origin.COMMIT),
    ]
    assert refused == {}


def test_only_since_and_only_the_users(project: Path) -> None:
    commit(project, {"a.py": FIRST}, START)
    commit(project, {"b.py": "b = 1\n"}, START + DAY, email="bob@example.org")
    commit(project, {"a.py": SECOND}, START + 2 * DAY)
    assert [edit.saved for edit in _filled(project, since=START + 1)[0]] == [START + 2 * DAY]
    assert [edit.saved for edit in _filled(project, emails=["BOB@example.org"])[0]] == [START + DAY]
    assert len(_filled(project, emails=[EMAIL, "bob@example.org"])[0]) == 3


def test_a_part_of_a_repository_knows_its_part(project: Path) -> None:
    commit(project, {"a.py": FIRST, "inner/b.py": "b = 1\n"}, START)
    commit(project, {".gitignore": "inner/ignored.py\n"}, START)
    git(project, "add", "-f", ".")
    (project / "inner" / "ignored.py").write_text("c = 1\n")
    git(project, "add", "-f", "inner/ignored.py")
    git(project, "commit", "-q", "-m", "forced", date=START)
    edits, refused = _filled(project / "inner")
    assert [edit.model_path for edit in edits] == ["b.py"]
    assert refused == {"ignored.py": Refusal.IGNORED}, "the rules above the folder hold in it"


def test_merges_add_nothing(project: Path) -> None:
    commit(project, {"a.py": FIRST}, START)
    git(project, "checkout", "-q", "-b", "side")
    commit(project, {"b.py": "b = 1\n"}, START + 1)
    git(project, "checkout", "-q", "main")
    commit(project, {"c.py": "c = 1\n"}, START + 2)
    git(project, "merge", "-q", "--no-edit", "side", date=START + 3)
    assert [edit.model_path for edit in _filled(project)[0]] == ["a.py", "b.py", "c.py"]


def test_bulk_is_left_out_or_sampled(project: Path) -> None:
    commit(project, {f"f{n}.py": f"value_{n} = {n}\n" for n in range(51)}, START)
    long = {f"g{n}.py": "".join(f"v_{n}_{i} = {i * n}\n" for i in range(600)) for n in range(6)}
    commit(project, long, START + 1)
    edits, refused = _filled(project)
    assert {path for path in refused if path.startswith("f")} == {f"f{n}.py" for n in range(51)}
    assert len(edits) == 3 and sum(path.startswith("g") for path in refused) == 3
    assert set(refused.values()) == {Refusal.BULK}
    assert _filled(project)[0] == edits, "the same sample each time"


def test_a_moved_file_and_a_link_are_nothing_new(project: Path) -> None:
    commit(project, {"a.py": SECOND}, START)
    git(project, "mv", "a.py", "b.py")
    (project / "link.py").symlink_to("/etc/passwd")
    commit(project, {}, START + 1)
    edits, refused = _filled(project)
    assert [edit.model_path for edit in edits] == ["a.py"]
    assert refused == {"b.py": Refusal.MOVED}


def test_what_is_not_learnt_from_is_named(project: Path) -> None:
    commit(
        project,
        {
            "big.py": "x = 1\n" * 200_000,
            "package-lock.json": "{}\n",
            ".env": "A=1\n",
            "notes.xyz": "what\n",
            "table.py": "[[[(((1,),),),{}],],]," * 20 + "\n" + "()[]{},;:" * 9,
            "key.py": 'k = """-----BEGIN EC ' + 'PRIVATE KEY-----\nabc\n"""\n',
            "latin.py": "n = 'plain'\n",
        },
        START,
    )
    (project / "latin.py").write_bytes(b"n = '\xe9t\xe9'\n")
    commit(project, {}, START + 1)
    edits, refused = _filled(project)
    assert [edit.model_path for edit in edits] == ["latin.py"]
    assert refused == {
        "big.py": Refusal.TOO_LARGE,
        "package-lock.json": Refusal.GENERATED,
        ".env": Refusal.SECRET_FILE,
        "notes.xyz": Refusal.NOT_CODE,
        "table.py": Refusal.FEW_LETTERS,
        "key.py": Refusal.PRIVATE_KEY,
        "latin.py": Refusal.BINARY,
    }


def test_code_cells_of_a_notebook(project: Path) -> None:
    def notebook(*sources: str) -> str:
        cells = [{"cell_type": "code", "source": source.splitlines(True), "outputs": ["noise"]} for source in sources]
        words = {"cell_type": "markdown", "source": "# words"}
        return json.dumps({"cells": [words, *cells], "metadata": {"language_info": {"name": "python"}}, "nbformat": 4})

    commit(project, {"n.ipynb": notebook("import os\n")}, START)
    commit(project, {"n.ipynb": notebook("import os\n", "%matplotlib inline\nx = 1")}, START + 1)
    edits, _ = _filled(project)
    assert [(edit.before, edit.after, edit.language) for edit in edits] == [
        ("", "import os\n\n", "python"),
        ("import os\n\n", "import os\n\nx = 1\n\n", "python"),
    ]


def test_several_processes_give_what_one_gives(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(12):
        commit(project, {f"m{n % 3}.py": f"def f{n}(a):\n    return a + {n}\n"}, START + n)
    one, _ = _filled(project, n_processes=1)
    monkeypatch.setattr(git_history, "_INLINE_COMMITS", 4)
    several, _ = _filled(project, n_processes=2)
    assert several == one and len(one) == 12


def test_stopping_in_the_middle_leaves_no_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil  # noqa: PLC0415

    for n in range(8):
        commit(project, {"a.py": f"def f{n}(a):\n    return a + {n}\n"}, START + n)
    monkeypatch.setattr(git_history, "_INLINE_COMMITS", 2)
    filling = back_fill(project.as_posix(), 0.0, n_processes=2)
    assert [next(filling) for _ in range(4)]
    filling.close()  # type: ignore[attr-defined]
    names = [child.name() for child in psutil.Process().children(recursive=True) if child.status() != "zombie"]
    assert not any("git" in name for name in names)


def test_a_hostile_repository_runs_nothing(project: Path, tmp_path: Path) -> None:
    """Everything a repository's configuration may name as a command is named, and none of it is run."""
    trap = tmp_path / "trap.sh"
    sprung = tmp_path / "sprung"
    trap.write_text(f'#!/bin/sh\necho "$0 $*" >> {sprung}\nexit 0\n')
    trap.chmod(0o755)
    commit(project, {".gitattributes": "*.py diff=evil filter=evil\n", "a.py": FIRST}, START)
    for setting in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass", "diff.external", "diff.evil.textconv",
        "diff.evil.command", "filter.evil.smudge", "filter.evil.clean", "filter.evil.process", "gpg.program", "credential.helper",
        "core.alternateRefsCommand", "pager.log", "pager.diff", "sequence.editor", "interactive.diffFilter",
    ):  # fmt: skip
        git(project, "config", setting, str(trap))
    git(project, "config", "log.showSignature", "true")
    git(project, "config", "alias.log", f"!{trap}")
    git(project, "config", "core.hooksPath", str(tmp_path))
    git(project, "config", "remote.origin.url", f"ext::{trap}")
    git(project, "config", "remote.origin.promisor", "true")
    git(project, "config", "extensions.partialClone", "origin")
    objects = project / ".git" / "objects"
    edits, _ = _filled(project)
    assert [edit.after for edit in edits] == [FIRST]
    for blob in [path for path in objects.glob("??/*") if path.is_file()]:
        if git(project, "cat-file", "-t", blob.parent.name + blob.name) == "blob":
            blob.unlink()  # a partial clone: git would now fetch them
    assert _filled(project)[1]["a.py"] is Refusal.GONE
    assert not sprung.exists(), sprung.read_text()


def test_no_repository_and_no_commit_give_nothing(tmp_path: Path, project: Path) -> None:
    assert list(back_fill(tmp_path.as_posix(), 0.0, ["a@b.org"])) == []
    assert list(back_fill(project.as_posix(), 0.0)) == []


def test_an_unknown_user_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(project, "config", "--unset", "user.email")
    with pytest.raises(BadRequest, match="address"):
        list(back_fill(project.as_posix(), 0.0))


FIELD = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"\1" + b"a" * 40 + b"\x02123\2a@b",
            b"\n:100644 100644 " + b"a" * 40 + b" " + b"b" * 40 + b" M",
            b":",
            b"\1",
            b"x.py",
        ]
    ),
)


@given(st.lists(FIELD, max_size=12))
def test_any_stream_is_read_to_its_end(fields: list[bytes]) -> None:
    for one in parsed(iter(fields), "/root"):
        assert all(change.path.startswith("/root/") for change in one.changes)
