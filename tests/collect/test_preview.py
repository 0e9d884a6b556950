"""What is shown about learning is what the journal and the folder hold."""

from __future__ import annotations

from pathlib import Path

from repository import repository

from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.preview import preview, status, survey
from trainer.collect.refusals import Refusal, Refused
from trainer.edits import EditEvent


def test_status_and_preview(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    folders = LearnedFolders(tmp_path / "folders.json")
    root = folders.on(tmp_path / "work").root
    journal.add(
        [
            EditEvent(f"{root}/a.py", root, "python", "", "a = 1\nb = 2\n", 5.0),
            EditEvent(f"{root}/a.py", root, "python", "a = 1\nb = 2\n", "a = 1\nb = 3\n", 6.0),
            EditEvent(f"{root}/b.go", root, "go", "", "package b\n", 5.5),
        ]
    )
    journal.refuse([Refused(f"{root}/a.py", root, Refusal.SECRET, 2), Refused(f"{root}/c.py", root, Refusal.SECRET)])
    (one,) = status(folders, journal, 0.0).folders
    assert (one.is_there, one.n_edits, one.n_files, one.last_saved) == (True, 3, 2, 6.0)
    assert one.left_out == {Refusal.SECRET: 3}
    shown = preview(journal, root)
    assert [(file.path[-4:], file.n_edits, file.n_added_lines) for file in shown.files] == [
        ("a.py", 2, 3),
        ("b.go", 1, 1),
    ]
    assert len(shown.left_out) == 2
    assert preview(journal, "/other").files == ()


def test_a_survey_names_what_is_left_out(tmp_path: Path) -> None:
    root = repository(tmp_path.resolve() / "work")
    (root / "inner").mkdir()
    (root / "node_modules").mkdir()
    files = {
        "a.py": "a = 1\n",
        "b.py": "# ada@lovelace.org\n\nb = 1\n",
        "inner/c.min.js": "var c\n",
        ".gitignore": "secret_plans.py\n",
        "secret_plans.py": "x = 1\n",
        "inner/.trainignore": "*.ts\n",
        "inner/d.ts": "let d = 1\n",
        "e.sql": "-----BEGIN " + "PRIVATE KEY-----",
        "model_pb2.py": "p = 1\n",
        "legacy/f.py": "f = 1\n",
        ".gitattributes": "legacy/** linguist-vendored\nmodel_pb2.py -linguist-generated\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    found = survey(root)
    assert found.n_wanted == 3 and found.by_language == {"python": 3}
    assert found.n_withheld == {Refusal.PERSONAL: 1}
    assert found.is_whole and not survey(root, max_files=1).is_whole
    assert {one.path.removeprefix(f"{root}/"): one.reason for one in found.left_out} == {
        "node_modules": Refusal.IGNORED,
        "inner/c.min.js": Refusal.GENERATED,
        "secret_plans.py": Refusal.IGNORED,
        "inner/d.ts": Refusal.IGNORED,
        "e.sql": Refusal.PRIVATE_KEY,
        "legacy": Refusal.VENDORED,
        ".gitignore": Refusal.NOT_CODE,
        ".gitattributes": Refusal.NOT_CODE,
        "inner/.trainignore": Refusal.NOT_CODE,
    }
