"""`understudy adapter`, and what it writes for other programs, on a real model without a daemon."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner, Result
from gate_worlds import TINY, hunks, write_adapter
from peft import PeftModel
from safetensors.numpy import load_file

from local_runtime.errors import AdapterInvalid, BadRequest
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from trainer.adapters.commands import adapter
from trainer.adapters.exchange import import_peft
from trainer.adapters.versions import Versions
from trainer.edits import Verdict
from trainer.gate.judge import EngineJudge


@pytest.fixture(autouse=True)
def home(home_with_model: Path) -> Path:
    return home_with_model


@pytest.fixture
def versions(tiny_model: ModelFolder) -> Versions:
    return Versions(base_hash=tiny_model.base_hash)


@pytest.fixture
def two_nights(versions: Versions, tiny_model: ModelFolder, tmp_path: Path) -> list[str]:
    names = []
    for seed in (1, 2):
        source = write_adapter(tmp_path / f"run-{seed}", tiny_model.base_hash, seed=seed, size=0.2)
        verdict = Verdict(True, (f"Night {seed} is better.",), 0.8, {"candidate.loss": 0.9, "base.loss": 1.0})
        names.append(versions.promote(versions.stage(source.path), verdict))
    return names


def run(*arguments: str) -> Result:
    return CliRunner().invoke(adapter, arguments, catch_exceptions=False)


def test_list_says_what_serves_and_what_the_gate_said(
    versions: Versions, two_nights: list[str], tiny_model: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    refused = versions.stage(write_adapter(tmp_path / "bad", tiny_model.base_hash, seed=9).path)
    versions.reject(refused, Verdict(False, ("It forgets 0.1 nats.",)))
    write_adapter(places().adapters / "foreign", "f" * 64)
    said = run("list").output
    assert "personal-2 serves at strength 0.8" in said
    assert "It forgets 0.1 nats." in said
    assert "made for base ffffffffffff" in said
    assert "Night 1 is better." not in said
    assert "Night 1 is better." in run("list", "--reasons").output


def test_choosing_and_going_back(versions: Versions, two_nights: list[str]) -> None:
    run("use", "personal-1")
    assert (versions.current().name, versions.current().strength) == ("personal-1", 0.8)
    run("strength", "0.5")
    assert (versions.current().name, versions.current().strength) == ("personal-1", 0.5)
    run("base")
    assert versions.current().name is None
    with pytest.raises(BadRequest, match="the base serves"):
        run("strength", "0.5")
    run("use", "personal-2", "--strength", "1.2")
    assert versions.current().strength == 1.2
    assert "personal-1 serves again at strength 0.8" in run("rollback").output
    assert "the base serves again" in run("rollback").output
    with pytest.raises(BadRequest, match="nothing to roll back"):
        run("rollback")


def test_what_is_not_there_is_said(two_nights: list[str]) -> None:
    for arguments in (("use", "personal-9"), ("use", "../../etc"), ("export", "nobody", "/tmp/never")):
        with pytest.raises(AdapterInvalid, match="there is no adapter"):
            run(*arguments)
    assert run("strength", "3").exit_code == 2
    with pytest.raises(BadRequest, match="expected NAME=SHARE"):
        run("mix", "personal-1=much")


def test_a_mix_adds_what_its_parts_add(versions: Versions, two_nights: list[str], engine_judge: EngineJudge) -> None:
    """Twice half of the same adapter is that adapter."""
    run("mix", "personal-1=0.5", "personal-1=0.5")
    current = versions.current()
    assert current.adapter
    one = hunks(1)[0]
    whole = engine_judge.score(one, versions.adapter("personal-1"), 1.0).logprobs
    assert engine_judge.score(one, current.adapter, current.strength).logprobs == pytest.approx(whole, abs=2e-2)
    assert whole != engine_judge.score(one, None).logprobs


def reference(folder: Path) -> transformers.LlamaForCausalLM:
    config = transformers.AutoConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def logits(model: torch.nn.Module, ids: tuple[int, ...]) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(torch.tensor([ids])).logits[0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_merged_weights_compute_what_the_side_path_computes(
    two_nights: list[str], engine: CompiledEngine, engine_judge: EngineJudge, tmp_path: Path, dtype: str
) -> None:
    run("export", "personal-1", str(tmp_path / "merged"), "--as", "safetensors", "--dtype", dtype)
    merged = reference(tmp_path / "merged")
    one = hunks(1)[0]
    fim = FimTokenizer.open(tmp_path / "merged")
    prompt = fim.prompt(one.hole)
    target = fim.target(prompt, one.middle)
    own = np.asarray(engine_judge.score(one, Versions().adapter("personal-1"), 0.8).logprobs)
    found = torch.log_softmax(torch.tensor(logits(merged, prompt.token_ids + target)), -1)
    theirs = [float(found[len(prompt.token_ids) - 1 + n, i]) for n, i in enumerate(target[:-1])]
    base = np.asarray(engine_judge.score(one, None).logprobs)
    # The compiled engine rounds activations to 8 bits, so the last digits differ; what the adapter does is far more.
    assert np.abs(own - theirs).max() < 0.2 * np.abs(own - base).max()


def test_a_peft_export_is_loaded_by_peft_and_computes_the_same(
    two_nights: list[str], tiny_home: Path, tmp_path: Path
) -> None:
    run("export", "personal-1", str(tmp_path / "peft"), "--strength", "0.5")
    run(
        "export",
        "personal-1",
        str(tmp_path / "merged"),
        "--as",
        "safetensors",
        "--dtype",
        "float32",
        "--strength",
        "0.5",
    )
    run("export", "personal-1", str(tmp_path / "base"), "--as", "safetensors", "--dtype", "float32", "--strength", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PEFT's own use of transformers
        tuned = PeftModel.from_pretrained(reference(tmp_path / "base"), tmp_path / "peft").eval()
    ids = tuple(range(10, 40))
    assert np.abs(logits(tuned, ids) - logits(reference(tmp_path / "merged"), ids)).max() < 1e-3
    assert np.abs(logits(tuned, ids) - logits(reference(tmp_path / "base"), ids)).max() > 0.1


def test_nothing_is_written_over(two_nights: list[str], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("x")
    for kind in ("peft", "safetensors"):
        with pytest.raises(BadRequest, match="is there already"):
            run("export", "personal-1", str(tmp_path / "full"), "--as", kind)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["precious.txt"]


def test_weights_that_float16_cannot_hold_leave_nothing_behind(
    versions: Versions, tiny_model: ModelFolder, tmp_path: Path
) -> None:
    write_adapter(versions.root / "big", tiny_model.base_hash, size=300.0)
    with pytest.raises(BadRequest, match="does not fit into float16"):
        run("export", "big", str(tmp_path / "out" / "merged"), "--as", "safetensors")
    assert list((tmp_path / "out").iterdir()) == []


def test_anybodys_lora_of_this_base_is_imported_and_bound(
    versions: Versions, tiny_model: ModelFolder, tmp_path: Path
) -> None:
    source = write_adapter(tmp_path / "team lora", "", seed=5).path
    (source / "manifest.json").unlink()
    assert "imported team-lora" in run("import", str(source)).output
    found = versions.adapter("team-lora")
    assert found.base_hash == tiny_model.base_hash
    assert (
        load_file(found.path / "adapter_model.safetensors").keys()
        == load_file(source / "adapter_model.safetensors").keys()
    )
    assert versions.current().name is None
    assert "never judged" in run("use", "team-lora").output
    assert versions.current().name == "team-lora"
    with pytest.raises(BadRequest, match="already"):
        run("import", str(source))
    assert versions.rollback() is None


def test_what_does_not_fit_is_not_imported(versions: Versions, tiny_model: ModelFolder, tmp_path: Path) -> None:
    other_shape = dataclasses.replace(TINY, hidden_size=96)
    with pytest.raises(AdapterInvalid, match="is made for"):
        import_peft(write_adapter(tmp_path / "a", "", config=other_shape).path, versions.root, tiny_model)
    with pytest.raises(AdapterInvalid, match="made for base ffffffffffff"):
        import_peft(write_adapter(tmp_path / "b", "f" * 64).path, versions.root, tiny_model)
    mine = write_adapter(tmp_path / "c", "").path
    for name in ("base", "personal-7", "candidates", "../up", ".hidden", "a/b"):
        with pytest.raises(BadRequest, match="cannot be the name"):
            import_peft(mine, versions.root, tiny_model, name)
    assert not versions.root.exists()
