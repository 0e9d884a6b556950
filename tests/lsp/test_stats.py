"""Numbers from what became of suggestions, and the commands that show them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from local_runtime.records.outcomes import Answer, Fate, Outcome, OutcomeLog, database
from lsp_server import commands, switches
from lsp_server.skip import Skip
from lsp_server.stats import percentile, summary
from lsp_server.switches import Switches, toggled


def outcome(
    number: int, fate: Fate, *, kept: float | None = None, n_chars: int = 0, language: str = "python"
) -> Outcome:
    return Outcome(f"{number}", 9e9, "/w/a.py", 3, language, "m", "mine" if number % 2 else "", 1.0, "model", 20.0, -0.3, "t", fate, 0, n_chars, False, None, kept)  # fmt: skip


OUTCOMES = [
    outcome(1, Fate.ACCEPTED, kept=1.0, n_chars=10),
    outcome(2, Fate.PARTLY, kept=0.5, n_chars=4),
    outcome(3, Fate.REJECTED),
    outcome(4, Fate.TYPED),
    outcome(5, Fate.UNSEEN),
    outcome(6, Fate.REJECTED, language="lua"),
]
ANSWERS = [
    *(Answer(9e9 + n, "/w/a.py", n, "python", "model", "", float(n), "") for n in range(1, 21)),
    Answer(9.05e9, "/w/a.py", 6, "python", "model", "noise", 900.0, ""),
    Answer(9.1e9, "/w/a.py", 7, "python", "", "secret_file", 0.1, ""),
]


def test_summary() -> None:
    found = summary(OUTCOMES, ANSWERS)
    assert (found.total.n_shown, found.total.n_accepted, found.total.n_typed, found.total.n_chars_saved) == (
        5,
        2,
        1,
        14,
    )
    assert (found.total.rate, found.total.kept_rate) == (0.4, 0.75)
    assert {name: group.n_shown for name, group in found.by_language.items()} == {"lua": 1, "python": 4}
    assert {name: group.n_accepted for name, group in found.by_adapter.items()} == {"base": 1, "mine": 1}
    assert (found.latency["model"].p50_ms, found.latency["model"].p95_ms) == (10.0, 19.0)
    assert found.skips == {"noise": 1, "secret_file": 1}


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([7.0], 0.95, 7.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0], 0.51, 2.0)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_the_commands_say_it() -> None:
    runner = CliRunner()
    assert "No editor has asked yet" in runner.invoke(commands.why).output
    with closing(OutcomeLog(database())) as log:
        log.write(OUTCOMES, ANSWERS)
    told = runner.invoke(commands.why, ["-n", "3"]).output.splitlines()
    assert told[0].endswith("/w/a.py:21  Shown (model, 20 ms).")
    assert told[2].endswith("/w/a.py:8  The file may hold secrets; such files are never read.")
    assert json.loads(runner.invoke(commands.stats, ["--json"]).output)["total"]["n_accepted"] == 2
    assert "secret file" in runner.invoke(commands.stats).output
    assert json.loads(runner.invoke(commands.settings, ["--json"]).output)[0]["key"] == "enabled"
    assert "deadline_ms = 600" in runner.invoke(commands.settings).output


def test_switches_are_toggled_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "data" / "switches.json"
    assert switches.read(path) == Switches()
    switched = toggled(toggled(Switches(), "folder", "/w/"), "language", "python")
    switches.write(path, switched)
    assert switches.read(path) == switched == Switches(False, frozenset({"python"}), frozenset({"/w"}))
    assert toggled(switched, "folder", "/w").folders_off == frozenset()
    path.write_text('{"everywhere_off": true, "languages_off": 7, "folders_off": []}')
    assert switches.read(path) == Switches(), "a damaged file switches nothing off"
    for scope, value in (("planet", "x"), ("language", ""), ("folder", "relative")):
        with pytest.raises(ValueError, match="expected global"):
            toggled(Switches(), scope, value)


def test_every_reason_is_told_in_a_sentence() -> None:
    for skip in Skip:
        assert skip.sentence.endswith("."), skip
        assert skip.sentence[0].isupper(), skip
    assert len({skip.sentence for skip in Skip}) == len(Skip)
