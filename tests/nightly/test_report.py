"""The report: from little data and from much, everything escaped, nothing fetched from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from local_runtime.places import places
from local_runtime.records.outcomes import Fate, Outcome, OutcomeLog, database
from trainer.edits import Verdict
from trainer.nightly.clock import remember
from trainer.nightly.conditions import Against, Refusal
from trainer.nightly.context_gain import ContextGain, write_context_gain
from trainer.nightly.corpus import Learnt, write_learnt
from trainer.nightly.runs import Reason, Record, Run, Runs
from trainer.report.command import report
from trainer.report.evidence import Evidence, gather
from trainer.report.page import headline, page
from trainer.report.plots import plots, smoothed
from trainer.report.summary import sparkline

NIGHT = 1.77e9
DAY = 86_400.0
NASTY = '</td><script>alert("x")</script><img src=http://evil.example/x>'
METRICS = {
    "judged_hunks": 40.0,
    **{f"{who}.loss": value for who, value in (("base", 1.2), ("serving", 1.0), ("candidate", 0.9))},
    **{f"{who}.loss.python": value for who, value in (("base", 1.2), ("serving", 1.0), ("candidate", 0.9))},
    **{f"{who}.loss.rust": value for who, value in (("base", 1.4), ("candidate", 1.3))},
    **{f"{who}.exact": value for who, value in (("base", 0.2), ("serving", 0.3), ("candidate", 0.4))},
    "candidate.similarity": float("nan"),
}


def a_night(n: int, *, promoted: bool = True, nasty: str = "", metrics: dict[str, float] | None = None) -> Run:
    runs = Runs(places().data / "runs")
    run = runs.begin(Record(id="", reason=Reason.WARM, model="tiny", base_hash="b", began=NIGHT + n * DAY))
    run.update(verdict=Verdict(promoted, ("better" + nasty, "and sound"), 0.8, METRICS if metrics is None else metrics))
    write_learnt(run.path, Learnt("h", 9, 30, 8, folders={f"/work/shop/src{nasty}": 20, "/work/shop/tests": 10}))
    write_context_gain(run.path, ContextGain(5, {"base": 1.0, "candidate": 0.8}, {"base": 1.1, "candidate": 0.95}))
    lines = [msgspec.json.encode({"step": step, "loss": 3 - step / 20}) for step in (1, 2, 2, 3, 4)]
    (run.path / "steps.jsonl").write_bytes(b"\n".join(lines) + b'\n{"step": 5, "lo')
    run.finish(f"personal-{n} serves{nasty}", NIGHT + n * DAY + 900)
    return run


def outcomes() -> None:
    with_fate = [
        Outcome(
            f"{day}-{n}", NIGHT + day * DAY + n, "/work/a.py", 1, "python", "tiny", "adapter" if day > 1 else "", 1.0, "model",
            40.0, -0.3, "x", Fate.ACCEPTED if n < 2 + day else Fate.REJECTED, kept_at_save=0.9 if n < 2 else None,
        )
        for day in range(4)
        for n in range(6)
    ]  # fmt: skip
    log = OutcomeLog(database())
    log.write(with_fate, [])
    log.close()


def evidence(left_out: dict[str, int] | None = None) -> Evidence:
    return gather(Runs(places().data / "runs"), database(), left_out or {}, {"battery": 3})


class Attributes(HTMLParser):
    """Every tag, and every attribute that could make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [
            v or "" for name, v in attrs if name in ("src", "href", "xlink:href", "data", "action", "srcset")
        ]


def test_with_nothing_learnt_it_says_so() -> None:
    empty = evidence()
    assert headline(empty).startswith("Nothing learnt yet: no night has run")
    assert plots(empty) == {}
    assert "Nothing learnt yet" in page(empty, {}, NIGHT)
    a_night(1, promoted=False, metrics={"hunks": 12.0})
    assert headline(evidence()).startswith("Nothing learnt yet: personal-1 serves")


def test_a_full_page_has_every_plot_and_figure() -> None:
    for n in range(3):
        a_night(n, promoted=n != 1)
    outcomes()
    found = evidence({"it holds what looks like a key or a password": 4})
    drawn = plots(found)
    assert list(drawn) == [
        "Held-out loss by language",
        "Exact first lines by language",
        "With and without related pieces",
        "Night by night: loss below the base's",
        "Training curve of the last night",
        "Accepted and kept, by day",
    ]
    html = page(found, drawn, NIGHT)
    assert "On 40 held-out edits this night&#x27;s adapter has a loss 25.0% below the base&#x27;s. It serves." in html
    for told in ("/work/shop/tests", "it holds what looks like a key", "personal-2 serves", "battery", "rust"):
        assert told in html
    assert [step.step for step in found.nights[0].steps] == [1, 2, 3, 4]
    assert found.before is not None
    assert found.after is not None
    assert (found.before.n_shown, found.before.n_accepted) == (12, 5)
    assert (found.after.n_shown, found.after.n_accepted) == (12, 9)


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    a_night(1, nasty=NASTY)
    a_night(2, nasty=NASTY)
    outcomes()
    found = evidence({f"reason {NASTY}": 1})
    html = page(found, plots(found), NIGHT)
    parser = Attributes()
    parser.feed(html)
    assert not parser.tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
    assert all(address.startswith("#") for address in parser.addresses)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", html))
    assert "@import" not in html
    assert "default-src 'none'" in html
    assert html.count("&lt;script&gt;") >= 4


def test_the_same_evidence_gives_the_same_page() -> None:
    a_night(1)
    found = evidence()
    assert page(found, plots(found), NIGHT) == page(found, plots(found), NIGHT)


def test_the_command_writes_one_private_file(tmp_path: Path) -> None:
    now = __import__("time").time()
    run = a_night(1)
    run.update(began=now)
    remember([Refusal(Against.BATTERY, "the machine runs on battery")])
    outcomes()
    result = CliRunner().invoke(report, [], catch_exceptions=False)
    assert result.exit_code == 0
    written = places().data / "report.html"
    assert written.stat().st_mode & 0o077 == 0
    assert "25.0% below" in result.output
    assert "battery" in written.read_text()
    result = CliRunner().invoke(report, ["--out", str(tmp_path / "week.html"), "--days", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (tmp_path / "week.html").read_text().startswith("<!doctype html>")


def test_a_damaged_run_costs_its_own_figures_alone() -> None:
    run = a_night(1)
    a_night(2)
    (run.path / "corpus.json").write_bytes(b"{")
    (run.path / "figures.json").write_bytes(b"\xff")
    (run.path / "steps.jsonl").write_bytes(b"\x00\n[]\n")
    found = evidence()
    assert found.nights[0].learnt is None
    assert found.nights[0].context is None
    assert found.nights[0].steps == ()
    assert found.last_trained is found.nights[1]


@pytest.mark.parametrize(
    ("values", "expected"), [([], ""), ([2.0], "▁"), ([1, 1, 1], "▁▁▁"), ([0, 7, 14], "▁▅█"), (list(range(80)), None)]
)
def test_sparklines(values: list[float], expected: str | None) -> None:
    line = sparkline(values)
    assert line == expected if expected is not None else (len(line) == 40 and line[0] == "▁" and line[-1] == "█")


def test_smoothing_has_no_bias_at_its_beginning() -> None:
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smoothed([]) == []
