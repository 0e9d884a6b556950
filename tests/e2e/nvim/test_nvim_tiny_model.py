"""Neovim with the tiny model, compiled here: what it says is its own business, what becomes of it is ours."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_model
from echo_daemon import PATIENT
from neovim import ENTER, PLUGIN, TAB, TRIGGER, Neovim
from picture import svg
from safetensors.numpy import save_file

from local_runtime.client.client import Ask, Client
from local_runtime.engines.protocol import Sampling
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Hole

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Start = Callable[..., Neovim]
PREFIX = """\
import json
from pathlib import Path


def read_notes(folder):
    return [json.loads(path.read_text()) for path in Path(folder).iterdir()]


class Note:
    def __init__(self, title, body):
        self.title = title
        self."""
BY_HAND = "automatic = false"
"""One answer to each request, however long it takes: nothing that is shown is replaced by what was asked earlier."""
COLOURS = "vim.o.termguicolors = true; vim.o.fillchars = 'eob: '; vim.o.showmode = false"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The tiny model behind one daemon, for all tests here; compiling it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tmp_path_factory.mktemp("home")))
        with Client("test") as client:
            folder(places().config)
            places().config_file.write_text(PATIENT)
            tiny_model.choose()
            try:
                client.wait_ready()
                yield client
            finally:
                client.stop()


@pytest.fixture(autouse=True)
def home(client: Client) -> None:
    """The module's own home, in place of one per test."""


def shown(nvim: Neovim, unlike: str = "") -> str:
    """Wait for a suggestion that is on the screen, other than `unlike`; its text."""
    nvim.terminal.until(lambda: said(nvim) not in ("", unlike), "a suggestion")
    nvim.shows(nvim.ghost().split("\n")[0].rstrip())
    return said(nvim)


def said(nvim: Neovim) -> str:
    """The suggestion without the count of others behind it."""
    return re.sub(r" \d/\d$", "", nvim.ghost()).strip()


def test_the_model_is_seen_and_accepted(program: Path, start: Start, update_golden: bool) -> None:
    nvim = start(program, BY_HAND, init=COLOURS, lines=18)
    path = nvim.open("notes.py", PREFIX)
    nvim.ready()
    nvim.type("GA" + TRIGGER)
    ghost = shown(nvim)
    picture = svg(nvim.terminal.screen, lines=14)
    ET.fromstring(picture)
    assert ghost.split("\n")[0][:12] in re.sub("<[^>]*>", "", picture).replace("&quot;", '"').replace("&#x27;", "'")
    if update_golden:
        (PLUGIN / "screenshot.svg").write_text(picture)
    nvim.type(TAB)
    nvim.until("vim.bo.modified", "accepted")
    assert nvim.save(path).decode() == PREFIX + ghost + "\n"


def test_another_adapter_speaks_without_a_restart(newest: Path, start: Start, client: Client) -> None:
    name = speaking_otherwise(client)
    nvim = start(newest, BY_HAND)
    nvim.open("notes.py", PREFIX)
    nvim.ready()
    before = nvim.lua("return require('understudy.server').client(0).id")
    nvim.type("GA" + TRIGGER)
    base = shown(nvim)
    for command, told in ((f"adapter {name}", f"adapter {name} answers"), ("adapter base", "the base model answers")):
        nvim.leave()
        nvim.type(f":Understudy {command}{ENTER}")
        nvim.shows(told)
        nvim.type("A" + TRIGGER)
        if command != "adapter base":
            assert shown(nvim, unlike=base) != base
            nvim.leave()
            nvim.type(":Understudy adapter" + ENTER)
            nvim.shows(f"* {name}  strength 1")
            nvim.type("q")
            nvim.until(f"require('understudy').statusline():find('+ {name}', 1, true)", "its name is in the statusline")
            nvim.type(":Understudy strength 0.5" + ENTER)
            nvim.until(f"require('understudy').statusline():find('+ {name} × 0.5', 1, true)", "less of it")
        else:
            nvim.terminal.until(lambda: said(nvim) == base, "the base speaks again")
    assert nvim.lua("return require('understudy.server').client(0).id") == before


def speaking_otherwise(client: Client) -> str:
    """Write random adapters until one makes the model say something else that is worth showing; its name."""
    hole, greedy = Hole("notes.py", "python", PREFIX, ""), Sampling(max_tokens=12, stop=("\n",))
    base = client.complete(hole, sampling=greedy).text
    for seed in range(40):
        name = write_adapter(seed)
        said = client.complete(hole, sampling=greedy, ask=Ask(adapter=name)).text
        if said.split()[:1] != base.split()[:1] and re.match(r"\w{2,}\W+\w{2,}", said):
            return name
    raise AssertionError("no random adapter made a difference")


def write_adapter(seed: int) -> str:
    """A PEFT folder with random weights for the tiny model."""
    model = ModelFolder.open(registry.find(tiny_model.NAME))
    dice, config, name = np.random.default_rng(seed), model.config, f"random-{seed}"
    path = folder(places().adapters / name)
    peft = {"r": 4, "lora_alpha": 4, "target_modules": ["o_proj"], "peft_type": "LORA"}
    (path / "adapter_config.json").write_text(json.dumps(peft))
    (path / "manifest.json").write_text(json.dumps({"base_hash": model.base_hash}))
    shapes = {"A": (4, config.n_heads * config.head_dim), "B": (config.hidden_size, 4)}
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora_{side}.weight": dice.normal(0, 0.2, shape).astype(
            np.float32
        )
        for layer in range(config.n_layers)
        for side, shape in shapes.items()
    }
    save_file(tensors, path / "adapter_model.safetensors")
    return name
