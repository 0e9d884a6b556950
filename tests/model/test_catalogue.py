"""The catalogue says of each model what is so, as far as it can be reckoned."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
import real_model

from local_runtime.errors import ModelMissing
from local_runtime.model import catalogue, registry
from local_runtime.model.catalogue import DataPackages, Entry, HubFile, Store
from local_runtime.model.importing import read_source
from local_runtime.model.layout import NAMES
from local_runtime.model.quantization import QUANTIZATIONS

ENTRIES = {entry.name: entry for entry in catalogue.entries()}
PUBLISHED_BILLIONS = {
    "qwen2.5-coder-0.5b": 0.49,
    "qwen2.5-coder-1.5b": 1.54,
    "qwen2.5-coder-3b": 3.09,
    "qwen2.5-coder-7b": 7.61,
    "qwen2.5-coder-14b": 14.7,
    "granite-4.0-350m": 0.352,
    "granite-4.0-1b": 1.63,
    "mellum-4b": 4.02,
    "seed-coder-8b": 8.25,
}
BITS = {"q4_k_m": (4.7, 8.1), "q8_0": (8.5, 8.7), "": (16.0, 16.2)}
"""Of a weight, by the file's name: Q4_K_M leaves much of a small model at 5 to 8 bits."""

every_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))


@every_entry
def test_names_licences_and_hashes(entry: Entry) -> None:
    assert entry.name == entry.name.lower() and catalogue.find(entry.name.upper()) == entry
    for quantization in QUANTIZATIONS:
        registry.checked_name(entry.model_name(quantization))
    assert entry.title and entry.license
    assert re.fullmatch("[0-9a-f]{64}|", entry.sha256)
    assert entry.sha256 or not entry.tried
    assert entry.non_commercial == ("COMMERCIAL" in entry.license_text) == ("research" in entry.license.lower())
    assert entry.fills_in_the_middle


@every_entry
def test_sources_come_in_order_and_are_spelled_as_their_readers_want(entry: Entry) -> None:
    kinds = [(Store, HubFile, DataPackages).index(type(source)) for source in entry.sources]
    assert kinds == sorted(kinds) and 0 in kinds and kinds.count(1) == 1
    for source in entry.sources:
        match source:
            case Store(reference):
                assert reference.partition(":")[0] in catalogue.PROGRAMS
            case HubFile(repo, file):
                assert re.fullmatch(r"[\w.-]+/[\w.-]+", repo) and quote(file) == file
                assert file.endswith(".gguf") or not file


@every_entry
def test_shape_parameters_and_sizes_go_together(entry: Entry) -> None:
    config = entry.config
    assert config.family in NAMES
    assert config.n_heads % config.n_kv_heads == 0
    assert config.hidden_size % 32 == 0 and config.intermediate_size % 32 == 0
    assert entry.n_parameters / 1e9 == pytest.approx(PUBLISHED_BILLIONS[entry.name], rel=0.015)
    assert entry.weight_bytes("q0f16") == pytest.approx(2 * entry.n_parameters, rel=0.001)
    assert entry.weight_bytes("q8f16_g32") == pytest.approx(8.5 / 8 * entry.n_parameters, rel=0.01)
    assert entry.weight_bytes("q4f16_1") == pytest.approx(4.5 / 8 * entry.n_parameters, rel=0.01)
    assert entry.kv_bytes_per_token == 4 * config.n_layers * config.n_kv_heads * config.head_dim
    file = next(source.file for source in entry.sources if isinstance(source, HubFile)).lower()
    low, high = next(bits for kind, bits in BITS.items() if kind in file)
    assert low <= 8 * entry.download_bytes / entry.n_parameters <= high


@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"])
def test_the_parts_in_packages_make_up_the_file(name: str) -> None:
    packages = ENTRIES[name].sources[-1]
    assert isinstance(packages, DataPackages)
    assert sum(wheel.member_bytes for wheel in packages.wheels) == ENTRIES[name].download_bytes
    for n, wheel in enumerate(packages.wheels, 1):
        assert wheel.name.endswith(f"-part{n}")
        assert re.fullmatch("[0-9a-f]{64}", wheel.sha256) and re.fullmatch(r"\d+\.\d+\.\d+", wheel.version)
        assert wheel.member == f"{wheel.name.replace('-', '_')}/data/part{n:02}.bin"
        assert 0.8 * wheel.member_bytes < wheel.size_bytes < 1.01 * wheel.member_bytes
    assert len({wheel.sha256 for wheel in packages.wheels}) == len(packages.wheels)


@pytest.mark.slow
def test_the_shape_is_the_real_file_s() -> None:
    found = read_source(real_model.gguf())
    assert found.config == ENTRIES[real_model.NAME].config
    assert found.path.stat().st_size == ENTRIES[real_model.NAME].download_bytes


@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        ("qwen-coder-0.5b", "qwen2.5-coder-0.5b"),
        ("seed", "seed-coder-8b"),
        ("Mellum", "mellum-4b"),
        ("", ""),
        ("zzz", ""),
    ],
)
def test_a_name_that_is_not_there(wrong: str, close: str) -> None:
    with pytest.raises(ModelMissing) as caught:
        catalogue.find(wrong)
    assert caught.value.remedy == "understudy model get --list"
    assert close in caught.value.message and ("close to it" in caught.value.message) == bool(close)
