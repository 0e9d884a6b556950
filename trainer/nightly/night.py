"""The night: collect, tune, stage, judge, promote. Each stage is written down before the next begins, so a kill costs one at most.

Examples are made and trained on in a child process (`learning_process`); here nothing imports torch. What serves is changed by
`Versions.promote` alone, at the very end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec

import psutil

from local_runtime.adapters.shelf import Choice
from local_runtime.client.client import Client
from local_runtime.devices.target import usable_cores
from local_runtime.errors import BadRequest, DaemonUnreachable, EngineDied, NotReady, RuntimeFault
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.pip_command import install_extra
from local_runtime.places import places
from local_runtime.prompts.fim import FimTokenizer
from trainer.adapters.kinship import learnt_on_kin
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal
from trainer.disk import DiskFull, disk_fault
from trainer.examples.store import read_examples
from trainer.gate.judge import DaemonJudge, Judge, compiled_judge
from trainer.nightly import context_gain
from trainer.nightly.corpus import Learnt, read_learnt
from trainer.nightly.events import Event
from trainer.nightly.judging import judging
from trainer.nightly.learning_process import ADAPTER, POOL, TRAIN
from trainer.nightly.options import LearnOptions, read_options
from trainer.nightly.progress_note import noted
from trainer.nightly.rebuild_owed import is_rebuild_owed, settle_rebuild
from trainer.nightly.review import review
from trainer.nightly.runs import Reason, Record, Run, Runs, Stage
from trainer.nightly.start_point import Start, start
from trainer.nightly.trainer_lock import LockWanted, leave_if_wanted, trainer_lock
from trainer.nightly.training_process import Paused, ProcessDied, Step, TrainingProcess, python
from trainer.nightly.user_activity import ActivityMonitor, Patience, UserActivity
from trainer.scarce_memory import memory_fault
from trainer.tuning.recipe import preset

MAX_FAULTS = 3
"""A run that stopped so often at something that should have passed is given up."""
PASSING = (DaemonUnreachable, EngineDied, NotReady, ProcessDied, DiskFull)
"""Faults after which a run is worth taking up again."""
PRESETS = {Reason.WARM: "warm-night", Reason.FIRST: "first-night"}
"""Recipes, unless the user names another; all other nights rebuild."""
Steps = Generator[Event, None, Stage]
"""What a stage says, and which one follows."""
OpenJudge = Callable[[], AbstractContextManager[Judge]]


@contextmanager
def daemon_judge() -> Iterator[Judge]:
    """The daemon that serves, asked as background work; started if there is none. If its engine cannot score, the compiled one."""
    with Client("trainer") as client:
        card = client.wait_ready().model
        if card is None or card.scores:
            yield DaemonJudge(client)
            return
    with compiled_judge(card.id) as judge:
        yield judge


def night_of_user(asked: Reason | None = None, *, preset: str | None = None, max_steps: int = 0) -> Iterator[Event]:
    """A night with this user's options, model, journal and daemon. See `Night.events`."""
    options = read_options()
    look = ActivityMonitor()
    try:
        yield from Night(options, look, asked=asked, preset=preset, max_steps=max_steps).events()
    finally:
        look.close()


@dataclass(slots=True)
class Night:
    """One night. What it looks at and asks are arguments; where things live is `places()`."""

    options: LearnOptions
    look: Callable[[], UserActivity]
    open_judge: OpenJudge = daemon_judge
    asked: Reason | None = None
    """Train from the base, for this reason."""
    preset: str | None = None
    max_steps: int = 0
    """Fewer optimiser steps than the recipe's; 0: the recipe's."""
    now: Callable[[], float] = time.time

    def events(self) -> Iterator[Event]:
        """Run the night, or what is left of one that was cut off; the last event has the run's record.

        Closing the generator, or killing the process, leaves a run that the next night takes up. Raises TrainerBusy when
        another trainer runs, LockWanted when one has to make way, and what makes a night impossible now: no model, a model
        without sentinels, a daemon that does not start, a full disk. The adapter that serves goes on serving through all of it.
        """
        _check_installed()
        with trainer_lock():
            runs = Runs(places().data / "runs")
            for name in runs.clear_broken():
                yield Event(Stage.COLLECT, f"{name} was cut off at its very beginning and is cleared")
            if runs.unfinished() is None and (declined := review(_versions(), self.open_judge)) is not None:
                yield Event(Stage.COLLECT, f"what served is rolled back: {declined}")
            run, taken_up = self._run(runs)
            if taken_up:
                yield Event(run.record.stage, f"taking up the night of {run.record.id} where it was cut off")
            try:
                with closing(self._stages(run)) as stages:
                    yield from noted(run.record.id, stages)
            except PASSING as fault:
                self._count_fault(run, fault)
                raise
            except OSError as problem:
                full = disk_fault(problem)
                self._count_fault(run, full)
                raise full from problem
            except LockWanted:
                raise
            except RuntimeFault as fault:
                run.finish(fault.message, self.now(), failed=True)
            except MemoryError as problem:
                scarce = memory_fault(problem, "to judge and to promote")
                assert scarce is not None
                self._count_fault(run, scarce)
                raise scarce from problem
            if run.record.reason.rebuilds and not run.record.failed:
                settle_rebuild()
            runs.prune()
            yield Event(Stage.DONE, run.record.outcome, record=run.record)

    def _run(self, runs: Runs) -> tuple[Run, bool]:
        """The run to go on with, or a new one; and which it is."""
        model = served_model()
        FimTokenizer.open(model.path)  # raises ModelInvalid when sentinels are missing: nothing could be learnt
        versions = Versions(base_hash=model.base_hash)
        left = runs.unfinished()
        if left is not None:
            problem = self._stale(left.record, model.base_hash, versions)
            if problem is None:
                return left, True
            left.finish(problem, self.now(), failed=True)
        serving = versions.current().name
        ended = [run.record for run in runs.finished()]
        begin = start(serving, model.base_hash, ended, self.now(), self.options.rebuild_days, owed=is_rebuild_owed())
        if self.asked is not None:
            begin = Start(self.asked, None)
        record = Record(
            id="",
            reason=begin.reason,
            model=model.path.name,
            base_hash=model.base_hash,
            began=self.now(),
            threads=self.options.threads or usable_cores(),
            preset=preset(self.preset or self.options.preset or PRESETS.get(begin.reason, "rebuild")).name,
            max_steps=self.max_steps,
            parent=begin.parent,
            serving=serving,
            seen_until=max((one.trained_until for one in ended if one.promoted), default=0.0),
        )
        return runs.begin(record), False

    def _stale(self, left: Record, base_hash: str, versions: Versions) -> str | None:
        """Why a run that was cut off is worth nothing any more."""
        if left.base_hash != base_hash:
            return "the base model was changed in the middle of it"
        if left.n_faults >= MAX_FAULTS:
            return f"it stopped {left.n_faults} times: {left.outcome}"
        if self.asked is not None and left.reason is not self.asked:
            return f"a night of another kind was asked for: {self.asked.value}"
        if left.parent is not None and not (versions.root / left.parent).is_dir():
            return f"the adapter that it went on from, {left.parent}, is gone"
        return None

    def _stages(self, run: Run) -> Generator[Event, None, None]:
        for stage, work in (
            (Stage.COLLECT, self._collect),
            (Stage.TUNE, self._tune),
            (Stage.STAGE, self._stage),
            (Stage.GATE, self._judge),
            (Stage.PROMOTE, self._promote),
        ):
            if run.record.stage is not stage:
                continue
            began, paused = time.monotonic(), run.record.paused_seconds
            following = yield from work(run)
            took = time.monotonic() - began - (run.record.paused_seconds - paused)
            seconds = run.record.seconds | {stage.value: run.record.seconds.get(stage.value, 0.0) + took}
            run.update(seconds=seconds)
            if following is Stage.DONE:
                return
            run.update(stage=following)

    def _collect(self, run: Run) -> Steps:
        """What is learnt from, fixed; nothing to learn ends the night."""
        yield Event(Stage.COLLECT, f"{run.record.reason.value} night: looking at what was saved")
        with closing(Journal()) as journal:
            if journal.problem:
                yield Event(Stage.COLLECT, journal.problem)
        yield from self._in_child(run, Stage.COLLECT)
        learnt = read_learnt(run.path)
        if learnt is None or not learnt.n_train:
            run.finish("nothing to learn from yet: understudy learn on PATH --since 90d", self.now())
            return Stage.DONE
        if self._is_known(run, learnt):
            run.finish("nothing new was saved since the last night", self.now())
            return Stage.DONE
        run.update(trained_until=learnt.trained_until)
        yield Event(Stage.COLLECT, f"{learnt.n_train} edits to train on, {learnt.n_pool} held out to judge with")
        return Stage.TUNE

    def _tune(self, run: Run) -> Steps:
        """Train, in the child."""
        begin = "the base" if run.record.parent is None else run.record.parent
        yield Event(Stage.TUNE, f"training from {begin}")
        if run.record.parent is not None:
            parent = Versions(base_hash=run.record.base_hash).adapter(run.record.parent)
            if kin := learnt_on_kin(parent, ModelFolder.open(registry.find(run.record.model))):
                yield Event(Stage.TUNE, kin)
        yield from self._in_child(run, Stage.TUNE)
        return Stage.STAGE

    def _stage(self, run: Run) -> Steps:
        """Put the result where the daemon can load it by name; nobody is served with it."""
        versions = Versions(base_hash=run.record.base_hash)
        run.update(candidate=versions.stage(run.path / ADAPTER))
        yield Event(Stage.STAGE, f"staged as {run.record.candidate}")
        return Stage.GATE

    def _judge(self, run: Run) -> Steps:
        """The gate, through the model that serves."""
        versions, candidate = Versions(base_hash=run.record.base_hash), run.record.candidate
        assert candidate is not None
        adapter = versions.adapter(candidate)
        pool, trained_on = read_examples(run.path / POOL), read_examples(run.path / TRAIN)
        verdict, gain = yield from judging(
            self.open_judge,
            Choice(candidate, adapter),
            versions.current(),
            pool,
            trained_on,
            judged_places=self.options.judged_places,
        )
        if gain is not None:
            context_gain.write_context_gain(run.path, gain)
        run.update(verdict=verdict)
        return Stage.PROMOTE

    def _promote(self, run: Run) -> Steps:
        """Have it serve, or keep what does. Both may be repeated after a kill."""
        versions, candidate, verdict = (
            Versions(base_hash=run.record.base_hash),
            run.record.candidate,
            run.record.verdict,
        )
        assert candidate is not None
        assert verdict is not None
        if verdict.promote:
            name = versions.promote(candidate, verdict)
            outcome = f"{name} serves, at strength {verdict.strength:g}"
        else:
            versions.reject(candidate, verdict)
            kept = versions.current().name or "the base"
            outcome = (
                f"not promoted, {kept} goes on serving: {verdict.reasons[0] if verdict.reasons else 'no reason given'}"
            )
        yield Event(Stage.PROMOTE, outcome)
        run.finish(outcome, self.now())
        return Stage.DONE

    def _in_child(self, run: Run, stage: Stage) -> Iterator[Event]:
        """One stage in the training process; a child that dies is started again as long as it gets further."""
        patience = Patience(self.look, self.options.resume_seconds)
        before = run.record.paused_seconds
        n_deaths, furthest = 0, 0
        while True:
            process = TrainingProcess(
                python("trainer.nightly.learning_process", str(run.path), stage.value),
                run.path / "tuning.log",
                threads=run.record.threads,
                must_stand=lambda: _leave_or(patience.reason),
                memory_cap_bytes=_memory_cap_bytes(self.options),
            )
            try:
                with closing(process.words()) as words:
                    for word in words:
                        if isinstance(word, Step):
                            furthest, n_deaths = max(furthest, word.step), 0 if word.step > furthest else n_deaths
                        yield _event(stage, word)
                return
            except ProcessDied:
                n_deaths += 1
                if n_deaths > MAX_FAULTS:
                    raise
                yield Event(stage, "the training process was killed; it goes on where it was")
            finally:
                costs = process.costs
                before += costs.paused_seconds
                run.update(
                    paused_seconds=before,
                    peak_memory_bytes=max(run.record.peak_memory_bytes, costs.peak_memory_bytes),
                    n_steps=max(run.record.n_steps, furthest),
                )

    def _is_known(self, run: Run, learnt: Learnt) -> bool:
        """Whether the last night learnt from the very same edits, and nobody wants another recipe tried on them."""
        if not run.record.reason.is_warm:
            return False
        ended = [one for one in Runs(run.path.parent).finished() if not one.record.failed]
        last = read_learnt(ended[-1].path) if ended else None
        same_recipe = self.preset is None or ended[-1].record.preset == run.record.preset
        return last is not None and last.hash == learnt.hash and same_recipe

    def _count_fault(self, run: Run, fault: RuntimeFault) -> None:
        with suppress(OSError):  # a full disk may not even take this
            run.update(n_faults=run.record.n_faults + 1, outcome=fault.message)


def _versions() -> Versions:
    return Versions(base_hash=served_model().base_hash)


def _event(stage: Stage, word: Step | Paused) -> Event:
    if isinstance(word, Step):
        return Event(stage, f"step {word.step} of {word.n_steps}", word.step, word.n_steps, word.loss)
    if word.reason is None:
        return Event(stage, "it goes on")
    return Event(stage, f"it stands still: {word.reason}", paused=True, reaction_seconds=word.reaction_seconds)


def _leave_or(reason: Callable[[], str | None]) -> str | None:
    leave_if_wanted()
    return reason()


def _memory_cap_bytes(options: LearnOptions) -> int:
    return options.memory_cap_mb << 20 if options.memory_cap_mb else int(psutil.virtual_memory().total // 2)


def _check_installed() -> None:
    missing = [name for name in ("torch", "peft") if find_spec(name) is None]
    if missing:
        raise BadRequest(f"training needs {' and '.join(missing)}", install_extra("train"))
