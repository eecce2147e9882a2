"""`PatchedModel`: a frozen base with any number of patches on it, switched and combined at run time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

import torch
from torch import Tensor, nn

from pave.answer.ask import answer
from pave.bases import Base, InputSpec, Visual
from pave.channels import Encoder, Source
from pave.fusion import Fusion
from pave.model.call import prepared
from pave.model.info import describe, summarise
from pave.model.seam import Active, Seam, Side
from pave.patches import build as building
from pave.patches import stack
from pave.patches.config import LoraSpec, PatchConfig
from pave.patches.folder import PatchFiles, check_tensors
from pave.patches.hub import locate
from pave.patches.lora import LoraSet
from pave.patches.precision import Float32Modules
from pave.tokens import Tokens

Times = Sequence[Tensor]
Visuals = Sequence[Visual]
Film = str | Path
Several = Sequence[str]
Media = Mapping[str, Source | Tokens] | None


class PatchedModel(nn.Module):
    """A base and its patches.

    A fresh patch, a patch at weight 0, a disabled patch and a patch whose channel a clip lacks each
    leave the base's logits exactly as they are; the number of tokens never changes. A patch whose
    channel is missing is off as a whole, LoRA included: for the call when no clip has it, for
    single rows of a mixed batch otherwise. While training (`model.train()`) every LoRA stays on,
    because gradient checkpointing runs layers again after the call.

    The base's model object is changed in place and `unpatch()` gives it back as it was; while it is
    patched, a call of the plain object bypasses the channels but not the LoRAs.

    Args:
        base: From `pave.load_base`.

    Raises:
        BaseError: If the base is already patched by another `PatchedModel`.

    Example:
        >>> model = PatchedModel(load_base("smol"))                    # doctest: +SKIP
        >>> model.load_patch("someone/pave-music-avqa", name="music")  # doctest: +SKIP
        >>> model.ask("concert.mp4", "Which instrument is louder?")    # doctest: +SKIP
        'the violin'
    """

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base, self._inputs = base, base.inputs
        self.model: Any = base.model
        self.model.requires_grad_(False)
        self.fusions = Float32Modules()
        self.seam = Seam(base)
        self.loras = LoraSet(base.model, base.family, base.name)
        self.configs: dict[str, PatchConfig] = {}
        self._weights: dict[str, float] = {}
        self._trainable: dict[str, bool] = {}
        self._encoders: dict[str, Encoder | None] = {}
        self._marks: dict[str, list[int]] = {}
        self._fed: InputSpec | None = None
        self.eval()

    @property
    def config(self) -> Any:
        """The base model's config."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the base lives."""
        return self.base.device

    def new_patch(
        self,
        channel: str | None,
        *,
        name: str | None = None,
        encoder: str | None = "mel",
        encoder_settings: Mapping[str, Any] | None = None,
        fusion: Mapping[str, Any] | None = None,
        lora: LoraSpec | None = None,
        prompt: str = "{question}",
        task: str | None = None,
        seed: int | None = None,
        on_top_of: Sequence[str] = (),
        continue_lora: str | None = None,
    ) -> str:
        """Put a fresh, trainable patch on the base; until it is trained it changes nothing.

        Args:
            channel: The side channel, or None for a LoRA-only control patch.
            name: What to call it; the channel's name, or "lora", when not given.
            encoder: Name of the channel's encoder; None for tokens made elsewhere (then `fusion`
                must hold `side_dim`).
            encoder_settings: Settings that differ from the encoder's defaults.
            fusion: Fields of `FusionConfig` that differ from the defaults; the widths follow from
                encoder and base.
            lora: The LoRA; none when not given.
            prompt: How a question is put, with `{question}` in it.
            task: Name of the task it is made for.
            seed: Seed of its initial weights; the caller's random state is left alone. None draws
                from it.
            on_top_of: Patches that stay at work below it, frozen; the saved patch will ask for
                them.
            continue_lora: The one of them whose LoRA the new patch trains on, in its place (the
                authors' way).

        Returns:
            The patch's name.

        Raises:
            PatchError: If the name is taken or invalid, the patch would hold nothing, or there is
                no such patch to stand on.
            ChannelError: If the encoder is unknown.
            ConfigError: If a setting is wrong.
        """
        name = building.free_name(name or channel or "lora", channel, self.configs)
        maker = building.encoder_for(self.base, channel, encoder, encoder_settings or {})
        below = stack.foundations(self.configs, on_top_of, continue_lora)
        lora = stack.lora_of_new(self.configs, lora, continue_lora)
        more = {"lora": lora, "prompt": prompt, "task": task, "stands_on": below}
        config = building.new_config(self.base, channel, maker, fusion or {}, **more)
        with torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            self._attach(name, config, trainable=True)
        for other in on_top_of:
            self.set_trainable(other, False)
        if continue_lora is not None:
            building.copy_tensors(self.loras.parameters(continue_lora), self.loras.parameters(name))
        if maker is not None:
            self._encoders[name] = maker
        return name

    def load_patch(
        self, source: str | Path, name: str | None = None, trainable: bool = False
    ) -> str:
        """Put a saved patch on the base, at weight 1; the first one decides how the base is fed (`PatchConfig.inputs`).

        Args:
            source: A patch folder, or a Hub id `owner/name`.
            name: What to call it; the folder's name when not given.
            trainable: Whether to go on training it.

        Returns:
            The patch's name.

        Raises:
            PatchError: If the folder is incomplete, damaged or unsafe, the patch was made for
                another base or fed otherwise, or it stands on a patch that is not on this one yet.
        """
        folder = locate(source)
        files = building.read_patch(folder, self.base)
        name = building.free_name(
            name or building.default_name(source, folder), files.config.channel, self.configs
        )
        config, fed = stack.recognise(files.config, self.configs, str(folder)), self.base.inputs
        building.agree(config, self.base, self.configs)
        try:
            self._attach(name, config, trainable)
            building.fill(self.fusions, self.loras.parameters(name), name, files, folder)
        except BaseException:
            self._detach(name)
            self.base.use(fed)
            raise
        self._marks[name] = self._mark(name)
        if self.base.inputs != fed:
            self._fed = fed
        return name

    def save_patch(
        self,
        folder: str | Path,
        name: str | None = None,
        *,
        training: Mapping[str, Any] | None = None,
        scores: Sequence[Mapping[str, Any]] | None = None,
        licence: str | None = None,
    ) -> Path:
        """Write a patch folder: complete or not at all, over an older patch of the same path.

        Args:
            folder: Where to; new, empty, or an older patch.
            name: Which patch; the only one when not given.
            training: Summary of the training run for `patch.json` and the card; the loaded one is
                kept when not given.
            scores: Rows of the card's score table.
            licence: Licence of the weights.

        Raises:
            PatchError: If the folder holds something else, the weights hold a NaN, or a patch it
                stands on was never saved or has changed since.
        """
        name = building.known_name(name, self.configs)
        given = {"training": training, "scores": scores, "licence": licence}
        changed = [other for other, mark in self._marks.items() if mark != self._mark(other)]
        config = stack.identified(
            building.saved_config(self.configs[name], **given), self.configs, changed
        )
        fusion = self.fusions[name].state_dict() if name in self.fusions else {}
        files = PatchFiles(config, fusion, dict(self.loras.parameters(name)))
        self.configs[name] = building.write(Path(folder), files, self.base)
        self._marks[name] = self._mark(name)
        return Path(folder)

    def delete_patch(self, name: str) -> None:
        """Take one patch off the base; without any the base is fed as before the first was loaded.

        Raises:
            PatchError: If there is no such patch, or another one stands on it.
        """
        name = building.known_name(name, self.configs)
        stack.must_carry_none(self.configs, name)
        self._detach(name)
        if not self.configs and self._fed is not None:
            self.base.use(self._fed)
            self._fed = None

    def unpatch(self) -> Any:
        """Take everything off, for good, and return the plain model object as it was: same modules, same keys, same logits."""
        for name in reversed(list(self.configs)):  # what stands on others came after them
            self.delete_patch(name)
        self.loras.unload()
        self.seam.detach()
        self.base.use(self._inputs)
        return self.model.eval()

    @property
    def weights(self) -> dict[str, float]:
        """Every patch's weight; 0 is off."""
        return dict(self._weights)

    def set_patches(self, weights: Mapping[str, float]) -> None:
        """Choose which patches work and how strongly; patches not named are off.

        A weight scales the fusion's residual and the LoRA's update alike; 1 is as trained. Several
        patches add up.

        Raises:
            PatchError: If a patch is unknown or a weight is not a finite number.
        """
        building.check_weights(weights, self.configs)
        self._weights = {name: float(weights.get(name, 0.0)) for name in self.configs}
        for name, active in self.seam.patches.items():
            active.weight = self._weights[name]
        self.loras.set_weights(self._weights, idle=stack.replaced(self.configs, self._weights))

    def merge(self) -> None:
        """Fold the LoRAs at work, at their weights, into copies of the layers' weights: what is left to pay is the fusion.

        The base's own weights are not touched, so it still comes back to the bit; the copies take
        as much memory as the adapted layers. They serve calls without gradients for which just
        these LoRAs are on; any other call (another choice of patches, a clip without the channel in
        a mixed batch, training) goes the usual way, and so does every call after the LoRA's weights
        changed, until `merge` is called again (all but a change in place through `.data`, which
        nobody can see). Logits differ from the unmerged ones by rounding.

        Example:
            >>> model.set_patches({"sound": 1.0})  # doctest: +SKIP
            >>> model.merge()  # doctest: +SKIP
        """
        self.loras.merge()

    def unmerge(self) -> None:
        """Drop the copies that `merge` made and give their memory back."""
        self.loras.unmerge()

    @contextlib.contextmanager
    def disable_patches(self) -> Iterator[None]:
        """For the time of the context this is exactly the base; afterwards the weights are what they were."""
        before = self.weights
        self.set_patches({})
        try:
            yield
        finally:
            self.set_patches(
                {name: before.get(name, weight) for name, weight in self._weights.items()}
            )

    def set_trainable(self, name: str, trainable: bool) -> None:
        """Freeze or unfreeze one patch, e.g. to train a second one on top of a finished first."""
        name = building.known_name(name, self.configs)
        self._trainable[name] = trainable
        if name in self.fusions:
            self.fusions[name].requires_grad_(trainable)
        if name in self.loras:
            self.loras.set_trainable(name, trainable)
        self.train(self.training)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What training changes and checkpoints hold: `<patch>.fusion.<key>` and `<patch>.lora.<key>` -> parameter."""
        found: dict[str, nn.Parameter] = {}
        for name in (name for name, on in self._trainable.items() if on):
            fusion = self.fusions[name].named_parameters() if name in self.fusions else ()
            found |= {
                f"{name}.fusion.{key}": parameter
                for key, parameter in fusion
                if parameter.requires_grad
            }
            found |= {
                f"{name}.lora.{key}": parameter
                for key, parameter in self.loras.parameters(name).items()
            }
        return found

    def load_trainable(self, state: Mapping[str, Tensor]) -> None:
        """Put the values of a checkpoint into the trainable parameters.

        Args:
            state: As `trainable_parameters` names them, all of them.

        Raises:
            PatchError: If a tensor is missing, unexpected or of another shape.
        """
        own = self.trainable_parameters()
        check_tensors(state, own, "checkpoint")
        building.copy_tensors(state, own)

    def info(self) -> dict[str, Any]:
        """What is on the base, as plain data: base, patches with channel, weight and parameter counts, totals."""
        return describe(self)

    def summary(self) -> str:
        """One line as peft prints it: trainable, all, per cent."""
        return summarise(self)

    def forward(
        self,
        channels: Side | None = None,
        times: Times | None = None,
        visuals: Visuals | None = None,
        **inputs: Any,
    ) -> Any:
        """The base's forward with the patches at work.

        Args:
            channels: One mapping a clip, in placeholder order, from channel (or one patch's name)
                to `Tokens`; a missing key is a missing channel. None: no clip has any. In a later
                turn on a cache they say again whose patches work.
            times: `[T]` seconds of each clip's token steps (`Clip.times`); spread evenly when not
                given.
            visuals: Visual tokens of each clip from `base.visual` or a cache, instead of pixels;
                the tower then does not run.
            **inputs: The base's own inputs, `labels` and `logits_to_keep` included.

        Raises:
            ChannelError: If clips and side channels do not fit each other.
        """
        with prepared(self, channels, times, visuals, inputs) as ready:
            return self.model(**ready)

    @torch.no_grad()
    def generate(
        self,
        channels: Side | None = None,
        times: Times | None = None,
        visuals: Visuals | None = None,
        **inputs: Any,
    ) -> Any:
        """The base's `generate` with the patches at work; arguments as `forward`, and those of `generate`."""
        with prepared(self, channels, times, visuals, inputs) as ready:
            return self.model.generate(**ready)

    @overload
    def ask(  # type: ignore[overload-overlap]  # a str is a sequence of str too; the first signature wins
        self,
        video: Film,
        question: str,
        *,
        channels: Media = ...,
        frames: int | None = ...,
        max_new_tokens: int = ...,
    ) -> str: ...
    @overload
    def ask(
        self,
        video: Film,
        question: Several,
        *,
        channels: Media = ...,
        frames: int | None = ...,
        max_new_tokens: int = ...,
    ) -> list[str]: ...
    def ask(
        self,
        video: Film,
        question: str | Several,
        *,
        channels: Media = None,
        frames: int | None = None,
        max_new_tokens: int = 64,
    ) -> str | list[str]:
        """Ask about a video; the channels of the active patches are encoded from it (or from `channels`), the answer is greedy.

        Args:
            video: A video file or a folder of frames.
            question: One question, or several that share decoding and visual tokens.
            channels: Channel (or patch name) -> its media, or ready `Tokens`, where the video
                itself does not hold it.
            frames: Frames to sample evenly; the base's own number when not given.
            max_new_tokens: Longest answer, in tokens.

        Returns:
            The answer, or a list of answers for a list of questions.

        Raises:
            MediaError: If the video cannot be read.
            ChannelError: If a channel's tokens do not fit the patch.
        """
        questions = [question] if isinstance(question, str) else list(question)
        answers = answer(self, video, questions, channels or {}, frames, max_new_tokens)
        return answers[0] if isinstance(question, str) else answers

    def encoder(self, name: str) -> Encoder | None:
        """The encoder of one patch's channel, made once; None if its tokens come ready-made."""
        config = self.configs[building.known_name(name, self.configs)]
        if name not in self._encoders:
            name_of, settings = (
                (None, {})
                if config.encoder is None
                else (config.encoder.name, config.encoder.settings)
            )
            self._encoders[name] = building.encoder_for(
                self.base, config.channel, name_of, settings
            )
        return self._encoders[name]

    def train(self, mode: bool = True) -> Self:
        """Training mode for trainable patches and the language model; tower and frozen patches stay in eval mode (dropout)."""
        super().train(mode)
        for child, module in self.model.model.named_children():
            if child != self.base.family.language_model:
                module.eval()
        for name, trainable in self._trainable.items():
            self.loras.train(name, mode and trainable)
            if name in self.fusions:
                self.fusions[name].train(mode and trainable)
        return self

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Trade time for memory in language model and fusions; the tower keeps no graph anyway. The trainer's name for it."""
        for fusion in self.fusions.values():
            assert isinstance(fusion, Fusion)
            fusion.checkpointing = True
        kwargs = {"use_reentrant": False, **(activation_checkpointing_kwargs or {})}
        # Called gradient_checkpointing_enable before transformers 5.2x.
        enable = (
            getattr(self.model, "activation_checkpointing_enable", None)
            or self.model.gradient_checkpointing_enable
        )
        enable(kwargs, **options)

    def _attach(self, name: str, config: PatchConfig, trainable: bool) -> None:
        """Put modules of freshly initialised weights in place, the fusion's on the base's device and in float32."""
        if config.lora is not None:
            self.loras.add(name, config.lora)
        if config.fusion is not None and config.channel is not None:
            self.fusions[name] = fusion = Fusion(config.fusion).to(self.device)
            self.seam.patches[name] = Active(fusion, config.channel, query=config.fusion.query)
        self.configs[name] = config
        self.set_trainable(name, trainable)
        self.set_patches({**self._weights, name: 1.0})

    def _detach(self, name: str) -> None:
        """Take away whatever there is of a patch."""
        self.seam.patches.pop(name, None)
        if name in self.fusions:
            del self.fusions[name]
        if name in self.loras:
            self.loras.remove(name)
        for kept in (self.configs, self._weights, self._trainable, self._encoders, self._marks):
            kept.pop(name, None)
        self.set_patches(self._weights)

    def _mark(self, name: str) -> list[int]:
        """How often each of a patch's tensors was changed in place: tells whether it still is what its files hold."""
        fusion = self.fusions[name].parameters() if name in self.fusions else ()
        tensors = (*fusion, *self.loras.parameters(name).values())
        return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
