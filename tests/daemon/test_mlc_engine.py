"""The mlc_llm engine, driving a stand-in for MLC's command and server that was written from their sources.

What is shown here is our side: which commands are run, what is merged, when which server serves. The real mlc_llm was not there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlc_llm_stand_in
import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file, save_file

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.cli import doctor
from local_runtime.client.options import RuntimeOptions
from local_runtime.daemon.serving import open_engine
from local_runtime.engines.protocol import Adapter, Piece, Prompt, Sampling, Stop
from local_runtime.errors import AdapterInvalid, BadRequest, BuildFailed, EngineDied, NotReady
from local_runtime.mlc_llm.command import MlcCommand, Running, find_command, last_words
from local_runtime.mlc_llm.mlc_engine import MlcEngine
from local_runtime.mlc_llm.variants import Variant, Workshop, ensure_folder
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS, quantize
from local_runtime.model.synthetic import SHAPES, write_folder
from local_runtime.model.tensor_cache import FILE_NAMES
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole

TINY = DecoderConfig("llama", 64, 96, 2, 4, 2, 16, 512, 512, tied_embeddings=True)
MODULE = "model.layers.0.self_attn.o_proj"
FAMILIES = {
    "qwen2": (replace(TINY, family="qwen2", qkv_bias=True), MODULE),
    "qwen3": (replace(TINY, family="qwen3", qk_norm=True), MODULE),
    "starcoder2": (replace(SHAPES["tiny-starcoder2"], hidden_size=64, head_dim=16, sliding_window=0), MODULE),
    "starcoder": (replace(SHAPES["tiny-starcoder"], hidden_size=64, head_dim=16), "transformer.h.0.attn.c_proj"),
}
"""Besides Llama, and a linear of 64 x 64 in each."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("source") / "tiny", TINY)


@pytest.fixture
def model(source: Path) -> ModelFolder:
    return ModelFolder.open(import_model(source, QUANTIZATIONS["q4f16_1"], "tiny"))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with the stand-in in its `bin`. As at a user's, Python holds back what is printed into a file."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = tmp_path / "env" / "bin" / "mlc_llm"
    command.parent.mkdir(parents=True)
    code = Path(mlc_llm_stand_in.__file__).read_text()
    command.write_text(f"#!{sys.executable}\n{code}")
    command.chmod(0o700)
    return tmp_path / "env"


@pytest.fixture
def engine(model: ModelFolder, environment: Path) -> Iterator[MlcEngine]:
    opened = MlcEngine(model, find_command(str(environment)), lambda doing: None)
    yield opened
    opened.close()


def calls(environment: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (environment / "bin" / "calls.jsonl").read_text().splitlines()]


def names(environment: Path) -> list[str]:
    return [call["command"] for call in calls(environment)]


def write_adapter(folder: Path, base_hash: str, seed: int = 0, size: float = 0.3, module: str = MODULE) -> Adapter:
    dice = np.random.default_rng(seed)
    folder.mkdir()
    a, b = dice.normal(0, size, (4, 64)).astype(np.float32), dice.normal(0, size, (64, 4)).astype(np.float32)
    save_file(
        {f"base_model.model.{module}.lora_A.weight": a, f"base_model.model.{module}.lora_B.weight": b},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    (folder / "manifest.json").write_text(json.dumps({"base_hash": base_hash}))
    return read_adapter(folder)


def prompt(model: ModelFolder) -> Prompt:
    return FimTokenizer.open(model.path).prompt(Hole("a.py", "python", "def f(", "\n"))


def said(engine: MlcEngine, adapter: Adapter | None = None, strength: float = 1.0) -> str:
    asked = prompt(ModelFolder.open(engine.model.folder))  # type: ignore[arg-type]
    pieces: list[Piece] = list(engine.stream(asked, Sampling(), adapter, strength))
    assert pieces[-1].stop is not None
    return "".join(piece.text for piece in pieces)


def prepare(engine: MlcEngine, adapter: Adapter | None = None, strength: float = 1.0) -> None:
    for _ in engine.prepare(adapter, strength):
        pass


def shop(model: ModelFolder, environment: Path) -> Workshop:
    return Workshop(model, find_command(str(environment)), Running(), lambda doing: None)


def answer_of(folder: Path) -> str:
    digest = hashlib.md5(b"".join(shard.read_bytes() for shard in sorted(folder.glob("params_shard_*.bin"))))
    return f"weights {digest.hexdigest()[:8]}"


def test_the_base_is_served_as_it_is_on_this_machine_alone(
    engine: MlcEngine, model: ModelFolder, environment: Path
) -> None:
    with pytest.raises(NotReady, match="not merged"):
        said(engine)
    prepare(engine)
    assert said(engine) == answer_of(model.path)
    compiled, served = calls(environment)
    assert (compiled["command"], served["command"]) == ("compile", "serve")
    arguments = served["arguments"]
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
    assert arguments[arguments.index("--allow-origins") + 1] == "[]"
    config = json.loads((Path(arguments[0]) / "mlc-chat-config.json").read_text())
    assert set(config["conv_template"]["stop_token_ids"]) >= prompt(model).stop_ids
    assert engine.model.base_hash == model.base_hash


def test_text_before_a_stop_string_is_kept_to_its_last_character(engine: MlcEngine, model: ModelFolder) -> None:
    """A token such as `)\\n` is text and end at once, and MLC would keep all of it back."""
    prepare(engine)
    pieces = list(engine.stream(prompt(model), Sampling(stop=("ights",))))
    assert "".join(piece.text for piece in pieces) == "we"
    assert pieces[-1].stop is Stop.TEXT


def test_an_adapter_is_merged_and_quantised_and_the_library_is_reused(
    engine: MlcEngine, model: ModelFolder, environment: Path, tmp_path: Path
) -> None:
    mine = write_adapter(tmp_path / "mine", model.base_hash)
    prepare(engine)
    base = said(engine)
    prepare(engine, mine)
    assert names(environment) == ["compile", "serve", "convert_weight", "serve"]
    folder = Path(calls(environment)[-1]["arguments"][0])
    assert said(engine, mine) == answer_of(folder) != base
    # What is served is the rule of MLC, applied to the base's weight plus the adapter's product.
    merged = ModelFolder.open(folder)
    tensors = load_file(mine.path / "adapter_model.safetensors")
    b, a = (tensors[f"base_model.model.{MODULE}.lora_{side}.weight"] for side in "BA")
    expected = (model.dequantized(f"{MODULE}.weight") + b @ a).astype(np.float16).astype(np.float32)
    words, scales = quantize(expected, QUANTIZATIONS["q4f16_1"])
    assert (merged.tensor(f"{MODULE}.q_weight") == words).all()
    assert (merged.tensor(f"{MODULE}.q_scale") == scales).all()
    with pytest.raises(NotReady):
        said(engine)
    prepare(engine)
    prepare(engine, mine)
    assert said(engine, mine) == answer_of(folder)
    assert names(environment).count("convert_weight") == names(environment).count("compile") == 1
    prepare(engine, mine, 0.5)
    assert said(engine, mine, 0.5) not in (base, answer_of(folder))


@pytest.mark.parametrize("name", FILE_NAMES)
def test_the_base_is_listed_under_both_names(model: ModelFolder, environment: Path, name: str) -> None:
    """Each mlc_llm reads one of them alone, by its age."""
    listing = (model.path / FILE_NAMES[0]).rename(model.path / name).read_bytes()
    folder = ensure_folder(shop(ModelFolder.open(model.path), environment), Variant(), (0,))
    assert [(folder / one).read_bytes() for one in FILE_NAMES] == [listing, listing]


@pytest.mark.parametrize("family", FAMILIES)
def test_mlc_knows_the_configuration_of_every_family_with_an_adapter(
    environment: Path, tmp_path: Path, family: str
) -> None:
    """It has no definition of transformers 5's `rope_parameters`, and defaults for few fields."""
    config, module = FAMILIES[family]
    source = write_folder(tmp_path / "source", config)
    model = ModelFolder.open(import_model(source, QUANTIZATIONS["q4f16_1"], family))
    mine = write_adapter(tmp_path / "mine", model.base_hash, module=module)
    merged = ModelFolder.open(ensure_folder(shop(model, environment), Variant(mine), (0,)))
    assert merged.config == model.config
    assert names(environment) == ["convert_weight"]


def test_what_served_goes_on_until_the_new_one_is_there_and_if_it_fails(
    engine: MlcEngine, model: ModelFolder, environment: Path, tmp_path: Path
) -> None:
    mine = write_adapter(tmp_path / "mine", model.base_hash)
    prepare(engine)
    steps = engine.prepare(mine)
    next(steps)
    assert said(engine) == answer_of(model.path)
    for _ in steps:
        pass
    other = write_adapter(tmp_path / "other", model.base_hash, seed=1)
    (environment / "bin" / "convert_weight-fails").touch()
    with pytest.raises(BuildFailed, match="convert_weight was told to fail"):
        prepare(engine, other)
    assert said(engine, mine).startswith("weights ")
    foreign = write_adapter(tmp_path / "foreign", "f" * 64)
    with pytest.raises(AdapterInvalid):
        prepare(engine, foreign)


def test_a_stream_that_runs_ends_with_the_server_it_began_with(
    engine: MlcEngine, model: ModelFolder, environment: Path, tmp_path: Path
) -> None:
    mine = write_adapter(tmp_path / "mine", model.base_hash)
    prepare(engine)
    stream = engine.stream(prompt(model), Sampling())
    pieces = [next(stream)]
    prepare(engine, mine)
    old = calls(environment)[1]["pid"]
    assert psutil.pid_exists(old)
    pieces += list(stream)
    assert "".join(piece.text for piece in pieces) == answer_of(model.path)
    assert not psutil.pid_exists(old)


def test_closing_leaves_no_process(model: ModelFolder, environment: Path) -> None:
    engine = MlcEngine(model, find_command(str(environment)), lambda doing: None)
    prepare(engine)
    server = psutil.Process(calls(environment)[-1]["pid"])
    engine.close()
    assert not server.is_running()
    unready = MlcEngine(model, find_command(str(environment)), lambda doing: None)
    next(unready.prepare(None))
    unready.close()
    assert all(not psutil.pid_exists(call["pid"]) for call in calls(environment))


def test_a_server_that_does_not_start_is_told_with_its_last_words(model: ModelFolder, environment: Path) -> None:
    (environment / "bin" / "serve-fails").touch()
    engine = MlcEngine(model, find_command(str(environment)), lambda doing: None)
    with pytest.raises(BuildFailed, match="serve ended with status 1: error: serve was told to fail"):
        prepare(engine)
    engine.close()


def test_a_server_that_hangs_since_its_thread_has_died_is_told_and_leaves_what_serves(
    engine: MlcEngine, model: ModelFolder, environment: Path, tmp_path: Path
) -> None:
    prepare(engine)
    (environment / "bin" / "serve-hangs").touch()
    with pytest.raises(BuildFailed, match="serve hangs: ValueError: the weights were told not to load"):
        prepare(engine, write_adapter(tmp_path / "mine", model.base_hash))
    assert said(engine) == answer_of(model.path)


def test_a_thread_that_dies_later_ends_the_engine(engine: MlcEngine, environment: Path) -> None:
    prepare(engine)
    log = Path(calls(environment)[-1]["arguments"][0]) / "serve.log"
    with log.open("a") as output:
        output.write("Exception in thread Thread-1 (_background_loop):\nTraceback\nValueError: x\n")
    with pytest.raises(EngineDied, match="server has ended"):
        said(engine)
    log.unlink()  # as with the folder of a variant that was used long ago
    assert said(engine).startswith("weights ")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "no message"),
        ("loading\nKilled\n", "Killed"),
        ("Traceback:\nValueError: too large:\n  4 GB\n  of 2 GB\n", "ValueError: too large:"),
        ("KeyError: 'x'\nDuring handling:\ntvm.error.InternalError: no device\n", "tvm.error.InternalError: no device"),
        ("[date] \x1b[1;31mError\x1b[0m: none\n", "[date] Error: none"),
    ],
)
def test_the_last_words_are_the_exception_or_the_last_line(tmp_path: Path, output: str, words: str) -> None:
    (tmp_path / "log").write_text(output)
    assert last_words(tmp_path / "log") == words


def test_what_it_cannot_do_it_says(engine: MlcEngine, source: Path, environment: Path, model: ModelFolder) -> None:
    with pytest.raises(BadRequest, match="scores nothing"):
        next(engine.score(prompt(model), (1,)))
    int8 = ModelFolder.open(import_model(source, QUANTIZATIONS["q8f16_g32"], "int8"))
    with pytest.raises(BadRequest, match="q8f16_g32 is ours alone"):
        MlcEngine(int8, find_command(str(environment)), lambda doing: None)


def test_where_the_command_is(environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = environment / "bin" / "mlc_llm"
    assert find_command(str(environment)).executable == find_command(str(command)).executable == command
    with pytest.raises(BadRequest, match="has no bin/mlc_llm"):
        find_command(str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadRequest, match="not on PATH"):
        find_command(None)
    monkeypatch.setenv("PATH", str(command.parent))
    assert find_command(None, "cuda") == MlcCommand(command, "cuda")


def test_another_tvm_beside_the_command_is_another_command(environment: Path, tmp_path: Path) -> None:
    """Libraries are compiled for one TVM, and its wheel leaves mlc_llm's command as it is."""
    packages = environment / "lib" / "python3.13" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "mlc_llm").symlink_to(environment / "bin" / "mlc_llm")
    command = find_command(str(tmp_path / "mlc_llm"))
    seen = {command.identity}
    for name in ("mlc_ai_nightly_cpu-0.20", "tvm-0.21", "apache_tvm_ffi-0.1.2"):
        (packages / f"{name}.dist-info").mkdir()
        seen.add(command.identity)
    assert len(seen) == 4
    (packages / "numpy-2.0.dist-info").mkdir()
    assert command.identity in seen


def test_doctor_and_the_settings_know_it(
    environment: Path, model: ModelFolder, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(doctor.mlc_llm()) == []
    config = home / "config"
    config.mkdir(parents=True)
    (config / "config.toml").write_text(f'[runtime]\nengine = "mlc_llm"\nmlc_llm = "{environment}"\n')
    [found] = doctor.mlc_llm()
    assert found.state == "note"
    assert "not yet tested with the real one" in found.text
    (config / "config.toml").write_text(f'[runtime]\nengine = "mlc_llm"\nmlc_llm = "{tmp_path}"\n')
    [missing] = doctor.mlc_llm()
    assert (missing.state, missing.remedy is None) == ("bad", False)
    options = RuntimeOptions(engine="mlc_llm", mlc_llm=str(environment), model="tiny")
    engine, prompting = open_engine(options, lambda standing: None)
    assert engine.model.name == "tiny"
    assert prompting.hole(Hole("a.py", "python", "x = ", "\n"), [], 400).stop_ids
    engine.close()
