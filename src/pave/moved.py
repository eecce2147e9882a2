"""Old module and public names, for programs written before the rooms got their present ones.

`from pave.store import stats` goes on to work, with a `DeprecationWarning` that names the new
place; what no longer exists says what to use. Nothing in pave itself uses an old name.

The tables below are all there is to maintain: a line for each module or name.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

MODULES = {
    # A family and what sits on the base, now below and above the patches.
    "pave.bases.seam": "pave.model.seam",
    "pave.bases.spec": "pave.bases.family",
    # The authors' formats came together in one room; so did extraction.
    "pave.channels.official": "pave.paper.features",
    "pave.cli.demo": "pave_world.cli.demo",
    "pave.cli.store": "pave.cli.cache",
    "pave.cli.world": "pave_world.cli.world",
    "pave.data.extract": "pave.extract",
    "pave.data.official": "pave.paper.annotations",
    "pave.demo": "pave_world.demo",
    "pave.demo.senses": "pave_world.demo.presets",
    # One way to answer, one to score, and the fusion in plain PyTorch.
    "pave.evaluate.answers": "pave.evaluate.arm_files",
    "pave.evaluate.batches": "pave.answer.batches",
    "pave.evaluate.decode": "pave.answer.generation",
    "pave.fusion.block": "pave.fusion.module",
    "pave.fusion.config": "pave.fusion_config",
    "pave.fusion.linear": "pave.cpu.linear",
    "pave.metrics.compare": "pave.tasks.compare",
    "pave.patches.info": "pave.model.info",
    "pave.patches.model": "pave.model.model",
    "pave.patches.official": "pave.paper",
    "pave.patches.official.convert": "pave.paper.checkpoint",
    # The store is called the token cache.
    "pave.store": "pave.cache",
    "pave.store.shards": "pave.cache.packed",
    "pave.store.store": "pave.cache.token_cache",
    "pave.tasks.authors": "pave.paper.annotations",
    "pave.tasks.report": "pave.tasks.score",
    "pave.train.frozen": "pave.cpu.frozen",
    "pave.train.smol": "pave_world.smol.build",
    "pave.train.smol_card": "pave_world.smol.card",
    # The embedded world is a package of its own, and has rooms.
    "pave.world": "pave_world",
    "pave.world.ask_frames": "pave_world.questions.frames",
    "pave.world.ask_scene3d": "pave_world.questions.scene3d",
    "pave.world.ask_views": "pave_world.questions.views",
    "pave.world.backdrop": "pave_world.pictures.backdrop",
    "pave.world.catalog": "pave_world.scenes.catalog",
    "pave.world.clips": "pave_world.films.clips",
    "pave.world.geometry": "pave_world.pictures.geometry",
    "pave.world.layout": "pave_world.scenes.layout",
    "pave.world.make": "pave_world.films.make",
    "pave.world.midi": "pave_world.sound.midi",
    "pave.world.question": "pave_world.questions.question",
    "pave.world.questions": "pave_world.questions.choose",
    "pave.world.render": "pave_world.pictures.render",
    "pave.world.sample": "pave_world.scenes.sample",
    "pave.world.sample_frames": "pave_world.scenes.frames",
    "pave.world.sample_scene3d": "pave_world.scenes.scene3d",
    "pave.world.sample_views": "pave_world.scenes.views",
    "pave.world.scene": "pave_world.scenes.scene",
    "pave.world.sounds": "pave_world.sound.mix",
    "pave.world.splits": "pave_world.scenes.seeds",
    "pave.world.sprites": "pave_world.pictures.sprites",
    "pave.world.voices": "pave_world.sound.voices",
}
"""Old module -> where its content is now; what was inside it is inside the new one."""

NAMES = {
    "pave.bases.AUTHORS": "pave.paper.AUTHORS_INPUTS",
    "pave.bases.inputs.AUTHORS": "pave.paper.AUTHORS_INPUTS",
    "pave.bases.list_families": "pave.bases.families.FAMILIES.names",
    "pave.bases.families.list_families": "pave.bases.families.FAMILIES.names",
    "pave.bases.families.common.feature_layers": "pave.bases.families.common.selected_width",
    # Settings of a base's input have left the module that applies them.
    "pave.bases.preprocess.CLIP_MEAN": "pave.bases.settings.CLIP_MEAN",
    "pave.bases.preprocess.CLIP_STD": "pave.bases.settings.CLIP_STD",
    "pave.bases.preprocess.HALF": "pave.bases.settings.HALF",
    "pave.bases.preprocess.IMAGENET_MEAN": "pave.bases.settings.IMAGENET_MEAN",
    "pave.bases.preprocess.IMAGENET_STD": "pave.bases.settings.IMAGENET_STD",
    "pave.bases.preprocess.Pixels": "pave.bases.settings.Pixels",
    "pave.bases.preprocess.SETTINGS_FILES": "pave.bases.settings.FILES",
    "pave.bases.preprocess.Shift": "pave.bases.settings.Shift",
    "pave.bases.preprocess.Spread": "pave.bases.settings.Spread",
    "pave.bases.preprocess.from_processor": "pave.bases.settings.from_processor",
    "pave.bases.preprocess.read_json": "pave.bases.source.read_json",
    "pave.bases.preprocess.read_settings": "pave.bases.settings.read_settings",
    "pave.bases.seam.Side": "pave.patches.patch.Side",
    "pave.bases.spec.Clip": "pave.bases.visual.Clip",
    "pave.bases.spec.PromptStyle": "pave.bases.prompt.PromptStyle",
    # The authors are called so, and not "official".
    "pave.channels.official.KINDS": "pave.paper.features.FILE_KINDS",
    "pave.channels.official.Kind": "pave.paper.features.FileKind",
    "pave.channels.official.OfficialFeatures": "pave.paper.features.AuthorsFeatures",
    "pave.channels.official.OfficialSettings": "pave.paper.features.AuthorsSettings",
    "pave.channels.official.OfficialViewsSettings": "pave.paper.features.AuthorsViewsSettings",
    "pave.channels.plain.NotPlain": "pave.channels.plain.NotPlainError",
    "pave.cli.store.store_verb": "pave.cli.cache.cache_verb",
    "pave.data.extract.work.CLIPS_PER_UNIT": "pave.extract.plan.CLIPS_PER_UNIT",
    "pave.data.extract.work.Unit": "pave.extract.plan.Unit",
    "pave.data.extract.work.open_store": "pave.extract.work.open_cache",
    "pave.data.features.digests_of": "pave.data.base_digests.digests_of",
    "pave.data.official.OfficialRecords": "pave.paper.AuthorsRecords",
    "pave.data.store.Joined": "pave.data.views.Joined",
    "pave.demo.senses.SENSES": "pave_world.demo.presets.PRESETS",
    "pave.demo.senses.Sense": "pave_world.demo.presets.Preset",
    "pave.evaluate.table.ArmRow": "pave.evaluate.report.AccuracyRow",
    "pave.evaluate.table.PairedRow": "pave.evaluate.report.PairedRow",
    # The model is no part of its patches.
    "pave.patches.PatchedModel": "pave.model.PatchedModel",
    "pave.patches.config.Foundation": "pave.patches.config.BasePatch",
    "pave.patches.folder.check_tensors": "pave.patches.fit.check_tensors",
    "pave.patches.folder.describe_folder": "pave.patches.folder_card.describe_folder",
    "pave.patches.folder.fresh_card": "pave.patches.folder_card.fresh_card",
    "pave.patches.folder.record_evaluation": "pave.patches.folder_card.record_evaluation",
    # Handles, the set on a model, and targets were one module.
    "pave.patches.lora.LoraSet": "pave.patches.lora_set.LoraSet",
    "pave.patches.lora.check_names": "pave.patches.lora_targets.check_names",
    "pave.patches.lora.check_targets": "pave.patches.lora_targets.check_targets",
    "pave.patches.lora.lora_config": "pave.patches.lora_targets.lora_config",
    "pave.patches.lora.lora_shapes": "pave.patches.lora_targets.lora_shapes",
    "pave.patches.official.convert._inputs": "pave.paper.checkpoint._read_inputs",
    "pave.patches.official.convert.channel_of": "pave.paper.configs.channel_of",
    "pave.patches.official.official_name": "pave.paper.authors_name",
    "pave.patches.official.weights.official_name": "pave.paper.authors_name",
    "pave.store.TokenStore": "pave.cache.TokenCache",
    "pave.store.is_store": "pave.cache.is_cache",
    "pave.store.shards.SETTLED_SECONDS": "pave.cache.digest.SETTLED_SECONDS",
    "pave.store.shards.Shards": "pave.cache.packed.PackedEntries",
    "pave.store.store.SETTLED_SECONDS": "pave.cache.digest.SETTLED_SECONDS",
    "pave.store.store.TokenStore": "pave.cache.TokenCache",
    "pave.store.store.is_store": "pave.cache.is_cache",
    # What reads files of scores is evaluation; a task only scores items.
    "pave.tasks.compare.CompareReport": "pave.evaluate.compare.CompareReport",
    "pave.tasks.compare.compare_files": "pave.evaluate.compare_files",
    "pave.tasks.report.prompt_of": "pave.tasks.items.prompt_of",
    "pave.tasks.score.score_files": "pave.evaluate.score_files",
    # A run's folder, and what an estimate is planned from, have modules of their own.
    "pave.train.batches.JointPlan": "pave.train.plans.JointPlan",
    "pave.train.batches.Mixture": "pave.train.plans.Mixture",
    "pave.train.batches.Plan": "pave.train.plans.Plan",
    "pave.train.config.FREE_TO_CHANGE": "pave.train.folder.FREE_TO_CHANGE",
    "pave.train.config.load_config": "pave.train.settings.load_config",
    "pave.train.config.without_channel": "pave.train.control.without_channel",
    "pave.train.estimate.Plan": "pave.train.estimate_plan.EstimatePlan",
    "pave.train.estimate.plan": "pave.train.estimate_plan.plan",
    "pave.train.start.align_new": "pave.train.start.align_new_patch",
    "pave.train.start.put_below": "pave.train.start.load_base_patches",
    # Channels are called alike everywhere: audio and video, not sound and visual.
    "pave.world.SOUND_FAMILIES": "pave_world.AUDIO_FAMILIES",
    "pave.world.VISUAL_FAMILIES": "pave_world.VIDEO_FAMILIES",
    "pave.world.question.Need": "pave_world.scenes.scene.Channel",
    "pave.world.questions.SOUND_FAMILIES": "pave_world.AUDIO_FAMILIES",
    "pave.world.questions.VISUAL_FAMILIES": "pave_world.VIDEO_FAMILIES",
    "pave.world.scene.Kind": "pave_world.scenes.scene.Channel",
    "pave.world.splits.KIND_PARTS": "pave_world.scenes.seeds.CHANNEL_PARTS",
}
"""Old name, with its old module -> the present one, where it is not just what `MODULES` says."""

_FUSION = "the fusion is plain PyTorch in pave.fusion.module, its speed-ups are in pave.cpu"
_FAMILIES = "a family is a class that follows the protocol pave.Family"
_LEASES = "several calls share an extraction with `--shard` or through Ray"

GONE = {
    "pave.bases.FamilySpec": _FAMILIES,
    "pave.bases.families.list_specs": "ask pave.bases.families.FAMILIES",
    "pave.bases.shares_prefix": "use pave.bases.why_no_shared_prefix, None where one is shared",
    "pave.bases.spec.FamilySpec": _FAMILIES,
    "pave.data.extract.workers": "the processes that read media are in pave.workers",
    "pave.evaluate.decode.answer": "use pave.answer.generate(model, clips, Sampling(n))",
    "pave.evaluate.items": "every question is an item of its task; see pave.tasks.items",
    "pave.fusion.chunks": _FUSION,
    "pave.fusion.layout": _FUSION,
    "pave.metrics.paired_bootstrap": "use pave.metrics.paired",
    "pave.patches.ask": "use PatchedModel.ask, or pave.answer.asking.ask",
    "pave.patches.build": "see the modules names, new, fit and folder of pave.patches",
    "pave.patches.call": "see pave.model.routes",
    "pave.patches.lean": "see pave.cpu.merged",
    "pave.patches.precision": "a patch keeps its fusion in float32, see pave.patches.patch",
    "pave.patches.stack": "see pave.patches.base_patches",
    "pave.store.Leases": _LEASES,
    "pave.store.lease": _LEASES,
    "pave.store.shards.write_shards": "nothing is packed any more",
    "pave.tasks.TASKS": "use pave.tasks.list_tasks()",
    "pave.tasks.report.items_of": "use pave.tasks.items.items_of(task, records, predictions)",
}
"""Old module or name that no longer exists -> what to use, or why."""


NEEDLESS = {
    "pave.store.pack": "token caches are not packed any more",
    "pave.store.upkeep.pack": "token caches are not packed any more",
}
"""Old function that has nothing to do any more -> why; it says so and returns 0, what it moved."""


def _warn(old: str, new: str) -> None:
    # Python leaves out the frames of its import system, so the user's line is named.
    warnings.warn(f"{old} is {new} now", DeprecationWarning, stacklevel=4)


def _is_old(name: str) -> bool:
    return name in NAMES or name in GONE or name in NEEDLESS


def _old_name(old: str) -> Any:
    """What a name of the tables stands for.

    Raises:
        AttributeError: If it is gone. Where it was asked for by `from ... import`, Python goes on
            to ask `_Finder`, which says the same as an ImportError.
    """
    if old in GONE:
        raise AttributeError(f"{old} was removed: {GONE[old]}")
    if old in NEEDLESS:
        return _does_nothing(old)
    new = NAMES[old]
    _warn(old, new)
    return resolve_name(new)


def _does_nothing(old: str) -> Callable[..., int]:
    # Whatever it was given; the caller's line is named, since this may hide a mistake there.
    def needless(*_given: Any, **_settings: Any) -> int:
        warnings.warn(f"{old} did nothing: {NEEDLESS[old]}", stacklevel=2)
        return 0

    return needless


class _StandIn(ModuleType):
    """A module under its old name, which passes on to the one that has its content now."""

    def __init__(self, name: str, target: ModuleType) -> None:
        super().__init__(name, target.__doc__)
        # Not through `__setattr__`, which would write them into the target.
        self.__dict__["__target__"] = target
        self.__dict__["__replaced__"] = {}

    def __getattr__(self, name: str) -> Any:
        old = f"{self.__name__}.{name}"
        target = self.__dict__["__target__"]
        if _is_old(old):
            return _old_name(old)
        if hasattr(target, name):
            return getattr(target, name)
        raise AttributeError(_nothing_left(old, target.__name__))

    def __setattr__(self, name: str, value: Any) -> None:
        # Python's import system writes its own entries, and modules into their packages.
        if name.startswith("__") or isinstance(value, ModuleType):
            super().__setattr__(name, value)
            return
        # A program that replaces a function wants it replaced where it is called.
        target = self.__dict__["__target__"]
        self.__dict__["__replaced__"].setdefault(name, getattr(target, name, None))
        setattr(target, name, value)

    def __delattr__(self, name: str) -> None:
        # How `unittest.mock` takes a replacement back that it found no entry for.
        target = self.__dict__["__target__"]
        setattr(target, name, self.__dict__["__replaced__"].pop(name))


class _Moved(Loader):
    """Makes the stand-in of a module that has moved."""

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A stand-in and not the target, into which Python would write the old name's spec."""
        return _StandIn(spec.name, import_module(self._target))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


class _WithOldNames(SourceFileLoader):
    """Loads a module that is still there, and lets it find the names that have left it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then put the old names before what it looks up by itself."""
        super().exec_module(module)
        # Packages that load their names lazily have one.
        own = getattr(module, "__getattr__", None)

        def look_up(name: str) -> Any:
            old = f"{module.__name__}.{name}"
            if _is_old(old):
                return _old_name(old)
            if own is not None:
                return own(name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = look_up  # type: ignore[method-assign]


def _module_of(old: str) -> str:
    return old.rpartition(".")[0]


_LEFT = {_module_of(old) for old in (*NAMES, *GONE, *NEEDLESS)}
"""Modules that a name has left; those that moved themselves are among them."""


def _new_place(old: str) -> str | None:
    """Where a module, or what was inside it, is now; None if nothing of the kind has moved."""
    package, inside = old, ""
    while package not in MODULES:
        package, dot, last = package.rpartition(".")
        if not package:
            return None
        inside = f"{dot}{last}{inside}"
    return MODULES[package] + inside


def _nothing_left(old: str, place: str) -> str:
    """What is said of a name that a module has lost on its way, or never had."""
    module, _, name = old.rpartition(".")
    return f"{old} does not exist: {module} is now {place}, which has no {name}"


class _Finder(MetaPathFinder):
    """Finds modules under their old names, and modules that names have left."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python asks this for every import; it answers for those that the tables speak of."""
        if not fullname.startswith("pave."):
            return None
        if fullname in GONE:
            raise ImportError(f"{fullname} was removed: {GONE[fullname]}", name=fullname)
        new = _new_place(fullname)
        if new is None:
            if fullname in _LEFT:
                return _keeping_old_names(fullname, path)
            return None  # the next finder's
        return _moved_spec(fullname, new)


def _moved_spec(old: str, new: str) -> ModuleSpec:
    """How an old module is loaded."""
    try:
        import_module(new)
    except ModuleNotFoundError as error:
        # Another one that is missing, such as `pave_world` or an extra, is told as it is.
        if old in MODULES or error.name != new:
            raise
        # A name is asked for as a module, too, when its package has none of that name.
        raise ImportError(_nothing_left(old, _module_of(new)), name=old) from error
    _warn(old, new)
    # Each counts as a package, or Python would not ask for the modules inside it.
    return ModuleSpec(old, _Moved(new), is_package=True)


def _keeping_old_names(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """How Python would load a module that is there, with a look-up of the names that left it."""
    spec = PathFinder.find_spec(name, path)
    # Not from an archive or without source: there old names are unknown.
    if spec is not None and isinstance(spec.loader, SourceFileLoader):
        spec.loader = _WithOldNames(spec.loader.name, spec.loader.path)
    return spec


def install() -> None:
    """Let old names be imported; no module of pave is called like an old one."""
    # Once, also where the package is reloaded. First, because the next one finds what exists.
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
