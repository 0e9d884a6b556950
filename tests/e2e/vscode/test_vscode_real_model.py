"""VS Code with the model that `understudy setup` brings: a right suggestion on the screen, and in the file."""

from __future__ import annotations

import pytest
import real_model
from echo_daemon import PATIENT, EchoDaemon
from window import Window

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_right_suggestion(window: Window, echo: EchoDaemon) -> None:
    (echo.home / "config" / "config.toml").write_text(PATIENT)
    name = real_model.choose()
    window.open("notes.py", real_model.NOTES.encode())
    window.status(name[:20])  # long names are cut
    window.go_to(len(real_model.NOTES.splitlines()))
    assert window.asked(lambda ghost: ghost.startswith(real_model.RIGHT))
    said = window.ghost()
    window.press("Tab")
    window.saves((real_model.NOTES + said).encode())
