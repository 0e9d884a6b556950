"""`understudy learn` and `forget` at the command line, and what the trainer's parts say of themselves there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from night_worlds import NOUNS, VERBS, learn_from

from local_runtime.errors import BadRequest
from local_runtime.places import folder, places
from local_runtime.records.outcomes import Fate, Outcome, OutcomeLog, database
from trainer import forgetting
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.forget_command import forget
from trainer.nightly import service as services
from trainer.nightly.durations import Duration
from trainer.nightly.learn_commands import learn


@pytest.fixture(autouse=True)
def no_real_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> services.Service:
    """A service whose commands do nothing, in this test's own folder."""
    fake = services.Service(
        tmp_path / "units" / "understudy.service", "[Service]\nExecStart=true\n", (("true",),), (("true",),)
    )
    monkeypatch.setattr(services, "service", lambda: fake)
    return fake


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a commit of the user's."""
    root = folder(tmp_path / "shop")

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=Ada", "-c", "user.email=ada@house.invalid", *arguments],
            cwd=root,
            check=True,
            capture_output=True,
        )

    git("init", "-q")
    (root / "a.py").write_text("def greet(name):\n    return f'hello {name}, welcome to the house'\n")
    git("add", "a.py")
    git("commit", "-q", "-m", "first")
    return root


def run(*arguments: str, command: click.Command = learn, keys: str | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), input=keys, catch_exceptions=False)


def test_on_learns_from_history_and_installs_what_it_showed(project: Path, no_real_service: services.Service) -> None:
    said = run("on", str(project), "--since", "90d", "--author", "ADA@house.invalid", keys="y\n")
    assert said.exit_code == 0
    assert "1 edits from your commits" in said.output
    assert "ExecStart=true" in said.output.split("Install it?")[0]
    assert no_real_service.is_installed
    assert [one.root for one in LearnedFolders().all()] == [str(project)]
    again = run("on", str(project), "--since", "90d", "--author", "ada@house.invalid")
    assert "0 edits from your commits, 1 were known" in again.output
    assert "is installed" in again.output


def test_on_asks_before_it_installs_and_takes_no_for_an_answer(
    project: Path, no_real_service: services.Service
) -> None:
    assert "learn watch" in run("on", str(project), keys="n\n").output
    assert not no_real_service.path.exists()
    run("on", str(project), "--no-service")
    assert not no_real_service.path.exists()
    run("on", str(project), "--yes")
    assert no_real_service.is_installed


def test_off_removes_the_service_with_the_last_folder(
    project: Path, tmp_path: Path, no_real_service: services.Service
) -> None:
    other = folder(tmp_path / "other")
    run("on", str(project), str(other), "--yes")
    run("off", str(other))
    assert no_real_service.is_installed
    said = run("off", str(project))
    assert "the login service" in said.output
    assert not no_real_service.path.exists()
    with pytest.raises(BadRequest, match="is not learnt from"):
        run("off", str(project))


def test_status_says_what_is_on_and_what_it_waits_for(tmp_path: Path) -> None:
    assert "off; understudy learn on PATH" in run("status").output
    learn_from(tmp_path / "shop")
    said = run("status").output
    assert f"{len(NOUNS) * len(VERBS)} edits" in said
    assert "not running" in said
    run("pause", "--for", "2h")
    assert "paused until" in run("status").output
    run("resume")
    assert "paused until" not in run("status").output


def test_pause_and_resume() -> None:
    assert "until: understudy learn resume" in run("pause").output
    assert LearnedFolders().paused(time.time()) is not None
    run("resume")
    assert LearnedFolders().paused(time.time()) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90d", 90 * 86_400.0), ("2h", 7200.0), (" 30 m ", 1800.0), ("1y", 31_536_000.0)]
)
def test_spans_of_time(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "d", "90", "1.5h", "-2h", "99999999d"])
def test_what_is_no_span_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90d"):
        Duration().convert(text, None, None)


def test_preview_before_anything_was_saved(project: Path) -> None:
    assert "Nothing was saved yet" in run("preview").output
    with pytest.raises(BadRequest, match="is not learnt from"):
        run("preview", str(project))


@pytest.mark.e2e
def test_preview_shows_files_examples_and_what_was_left_out(world: Path, project: Path) -> None:
    learn_from(project, NOUNS[:4], VERBS[:3])
    secret = "password = 'hunter2-and-then-some-8dK3'\n"
    (project / "secrets.py").write_text("x = 1\n")
    subprocess.run(["git", "add", "secrets.py"], cwd=project, check=True)
    (project / ".env").write_text(secret)
    subprocess.run(["git", "add", "-f", ".env"], cwd=project, check=True)
    subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=ada@house.invalid", "commit", "-qm", "x"],
        cwd=project,
        check=True,
    )
    run("on", str(project), "--since", "90d", "--author", "ada@house.invalid", "--no-service")
    said = run("preview", "--examples", "2").output
    assert "would be trained on" in said
    assert "2 of them" in said
    assert "its name is that of a secret file" in said.replace("\n", " ") or "secret file" in said
    assert "hunter2" not in said


def test_forget_asks_first_and_says_what_a_deleted_file_means(world: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    learn_from(shop, NOUNS[:3], VERBS[:3])
    assert run(str(shop), command=forget, keys="n\n").exit_code == 1
    journal = Journal()
    assert journal.count() == 9
    said = run(str(shop / "parcel.py"), "--yes", command=forget)
    assert said.exit_code == 0
    assert journal.count() == 6
    assert "SSD" in said.output
    assert ".trainignore" in said.output
    said = run(str(shop), "--yes", command=forget)
    assert journal.count() == 0
    assert "no longer learnt from" in said.output
    assert LearnedFolders().all() == ()
    journal.close()


def test_forget_reaches_statistics_and_every_search_index(world: Path, tmp_path: Path) -> None:
    from local_runtime.context.ignore import IgnoreRules  # noqa: PLC0415
    from local_runtime.context.search import WorkspaceIndex  # noqa: PLC0415

    shop = folder(tmp_path / "shop")
    (folder(shop / "inner") / "thing.py").write_text("def unmistakable_thing(value):\n    return value\n" * 3)
    (shop / "kept.py").write_text("def kept_thing(value):\n    return value\n" * 3)
    indexes = folder(places().data / "index")
    for root in (shop, shop / "inner"):
        index = WorkspaceIndex(forgetting.index_of(indexes, root), IgnoreRules(root))
        assert list(index.refresh())
        index.close()
    log = OutcomeLog(database())
    row = Outcome(
        "1",
        1.0,
        str(shop / "inner" / "thing.py"),
        1,
        "python",
        "m",
        "",
        1.0,
        "model",
        1.0,
        -1.0,
        "unmistakable_thing",
        Fate.ACCEPTED,
    )
    log.write([row], [])
    log.close()

    forgotten = forgetting.forget(shop / "inner")
    assert (forgotten.n_suggestions, forgotten.n_indexes) == (1, 2)
    assert not forgetting.index_of(indexes, shop / "inner").exists()
    left = [path for path in places().data.rglob("*") if path.is_file() and b"unmistakable_thing" in path.read_bytes()]
    assert left == []
    index = WorkspaceIndex(forgetting.index_of(indexes, shop), IgnoreRules(shop))
    assert index.search(frozenset({"kept_thing"}), "x.py", 3)
    index.close()
    assert forgetting.forget(shop / "inner").n_indexes in (0, 1)  # again: nothing is left, nothing breaks


def test_help_starts_without_torch() -> None:
    code = "import sys\nfrom trainer.nightly import learn_commands\nfrom trainer import forget_command\nfrom trainer.report import command\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
