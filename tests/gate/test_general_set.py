"""The frozen general set: small, whole, with its licences, and of packages that nothing here learns from."""

from __future__ import annotations

import tiny_model

from local_runtime.general_set import FILE, general_holes
from local_runtime.prompts.fim import FimTokenizer
from trainer.gate.pool import general_examples


def test_every_hole_fits_a_prompt() -> None:
    fim = FimTokenizer.open(tiny_model.FOLDER)
    holes = general_holes()
    for one in holes[::10]:
        prompt = fim.prompt(one.hole)
        assert 0 < len(prompt.token_ids) < 2048
        assert fim.target(prompt, one.middle)[-1] == fim.end_id
    assert len(holes) == len({(h.hole.path, len(h.hole.prefix), h.hole.prefix[-80:], h.middle) for h in holes})


def test_it_is_small_and_says_its_licences() -> None:
    assert FILE.stat().st_size < 2_000_000
    said = (FILE.parent / "LICENCES.md").read_text()
    packages = {one.package for one in general_holes()}
    assert len(packages) >= 3
    for name in packages:
        assert f"## {name} " in said


def test_it_covers_the_languages() -> None:
    assert {one.hole.language for one in general_holes()} == {"python", "typescript", "javascript"}


def test_fewer_places_are_spread_over_the_whole_set() -> None:
    whole, some = general_examples(), general_examples(50)
    assert len(some) == 50
    where = [whole.index(one) for one in some]
    assert where == sorted(set(where)) and where[0] == 0 and where[-1] > 0.95 * len(whole)
    assert general_examples(10_000) == whole
