"""`PatchedModel`: a frozen base with any number of patches, switched and combined at run time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

import torch
from torch import Tensor, nn

from pave import hf_compat
from pave.answer import Sampling, ask, ask_behind, reply, reply_in_pieces, turns_of
from pave.answer.sampling import as_sampling
from pave.arguments import as_flag
from pave.bases import Base, InputSpec
from pave.bases.inputs import FrameWord
from pave.bases.plain import as_base
from pave.channels import Encoder, Source
from pave.errors import PatchError
from pave.media import Frames
from pave.model.attached import Fresh, attach_fresh, attach_saved, detach, settle
from pave.model.calls import Times, Visuals, called
from pave.model.chosen import Chosen, Weights
from pave.model.encoders import encoder_of
from pave.model.info import describe, summarise
from pave.model.published import saved_for_hub
from pave.model.saved import read_patch, write_patch
from pave.model.seam import Seam
from pave.patches.base_patches import on_top_of
from pave.patches.config import LoraSpec, StoredType
from pave.patches.fit import check_tensors, check_weights
from pave.patches.lora import copy_values
from pave.patches.lora_set import LoraSet
from pave.patches.names import known_name
from pave.patches.new import NewChannel, channels_of, or_empty
from pave.patches.patch import Patch, Patches, Side
from pave.patches.remote import push_folder
from pave.tokens import Tokens

Media = Mapping[str, Source | Tokens] | None


class PatchedModel(nn.Module):
    """A base and its patches.

    A fresh patch, a patch at weight 0, a disabled patch and a patch whose channel a clip lacks each
    leave the base's logits exactly as they are; the number of tokens never changes. A patch whose
    channel is missing is off as a whole, LoRA included: for the call when no clip has it, for
    single rows of a mixed batch otherwise. While training (`model.train()`) a LoRA that is the
    whole patch's stays on; where channels have one each, it is off without its channel there, too.

    Several threads may use one model. What a call brings with it (side tokens, times) only that
    call sees; the layers that all calls share take one call at a time. Which patches are on, and at
    which weights, is the model's, for all threads alike.

    The base's model object is changed in place and `unpatch()` gives it back as it was; while it is
    patched, a call of the plain object bypasses the channels but not the LoRAs.

    Args:
        base: From `pave.load_base`.

    Attributes:
        patches: The patches on the base, by name, in the order in which they came.
        lock: Held by every call; whoever changes the shared layers for some calls holds it, too.
        taken: Patch -> those at work that take the place of its LoRA, see `taken_by`.

    Raises:
        BaseError: If it is no base, or already patched by another `PatchedModel`.

    Example:
        >>> model = PatchedModel(load_base("smol"))                    # doctest: +SKIP
        >>> model.load_patch("someone/pave-music-avqa", name="music")  # doctest: +SKIP
        >>> model.ask("concert.mp4", "Which instrument is louder?")    # doctest: +SKIP
        'the violin'
    """

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base = as_base(base)
        self.model: Any = base.model
        self.model.requires_grad_(False)
        # After the model, so that `train` reaches the patches last: their LoRAs lie in the model.
        self.patches: dict[str, Patch] = Patches()
        self.loras = LoraSet(base.model, base.family, base.name)
        self.seam = Seam(base, self.patches)
        self.lock = threading.RLock()
        self._inputs = base.inputs
        self._fed: InputSpec | None = None  # how the base was fed before the first patch came
        self.taken: dict[str, list[str]] = {}
        self.eval()

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, which gets a lock of its own."""
        return {**self.__dict__, "lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.lock = threading.RLock()

    @property
    def config(self) -> Any:
        """The base model's config."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the base lives."""
        return self.base.device

    def new_patch(  # noqa: PLR0913 - keyword-only settings of the public API
        self,
        channel: str | Mapping[str, NewChannel] | None,
        *,
        name: str | None = None,
        encoder: str | None = "mel",
        encoder_settings: Mapping[str, Any] | None = None,
        fusion: Mapping[str, Any] | None = None,
        lora: LoraSpec | None = None,
        lora_per_channel: bool = False,
        prompt: str = "{question}",
        task: str | None = None,
        frames: FrameWord | None = None,
        seed: int | None = None,
        base_patches: Sequence[str] = (),
        continue_lora: str | None = None,
    ) -> str:
        """Put a fresh, trainable patch on the base; until it is trained it changes nothing.

        Args:
            channel: The side channel, or None for a LoRA-only control patch. For several channels
                a mapping to `pave.patches.NewChannel`, which holds what `encoder`,
                `encoder_settings` and `fusion` say of one.
            name: What to call it; the channel's name, or "lora", when not given.
            encoder: Name of the channel's encoder; None for tokens made elsewhere (then `fusion`
                must hold `side_dim`).
            encoder_settings: Settings that differ from the encoder's defaults.
            fusion: Fields of the fusion's settings that differ from the defaults; the widths follow
                from encoder and base, `type` names another fusion than pave's own.
            lora: The LoRA; none when not given.
            lora_per_channel: Whether each of several channels has such a LoRA, which works only
                where the channel is, instead of one that they share.
            prompt: How a question is put, with `{question}` in it.
            task: Name of the task it is made for.
            frames: Frames of a clip in its training, or "auto", if not the base's own number; `ask`
                then takes the same.
            seed: Seed of its initial weights; the caller's random state is left alone. None draws
                from it.
            base_patches: Patches on top of which it is trained: they stay at work, frozen, and the
                saved patch will ask for them.
            continue_lora: The one of them whose LoRA the new patch trains on, in its place (the
                authors' way).

        Returns:
            The patch's name.

        Raises:
            PatchError: If the name is taken or invalid, the patch would hold nothing, or there is
                no such base patch.
            ChannelError: If the encoder is unknown.
            ConfigError: If a setting is wrong.
        """
        one = NewChannel(encoder, or_empty(encoder_settings), or_empty(fusion))
        fresh = Fresh(
            channels=channels_of(channel, one),
            name=name,
            lora=lora,
            lora_per_channel=lora_per_channel,
            base_patches=base_patches,
            continue_lora=continue_lora,
            seed=seed,
        )
        return attach_fresh(self, fresh, prompt=prompt, task=task, frames=frames)

    def load_patch(
        self,
        source: str | Path,
        name: str | None = None,
        trainable: bool = False,
        *,
        same_weights: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Put a saved patch on the base, at weight 1; the name that it got.

        The first one decides how the base is fed (`PatchConfig.inputs`).

        Args:
            source: A patch folder, or a Hub id `owner/name`.
            name: What to call it; the folder's name when not given.
            trainable: Whether to go on training it.
            same_weights: Refuse a patch that was trained on other weights than the base's of the
                same shapes, such as a fine-tuned base's; there is a warning otherwise.
            revision: Branch, tag or commit of a Hub id.
            token: For a Hub id: None for the one of `HF_TOKEN` or `hf auth login`.

        Raises:
            PatchError: If the folder is incomplete, damaged or unsafe, the patch was made for
                another base or fed otherwise, or a base patch of it is not on this model yet.
        """
        as_flag(trainable, "trainable")
        how: Any = {"same_weights": same_weights, "revision": revision, "token": token}
        saved = read_patch(source, name, self.base, self.patches, **how)
        fed = self.base.inputs
        attach_saved(self, saved, trainable=trainable)
        if self.base.inputs != fed:
            self._fed = fed
        return saved.name

    def save_patch(
        self,
        folder: str | Path,
        name: str | None = None,
        *,
        training: Mapping[str, Any] | None = None,
        scores: Sequence[Mapping[str, Any]] | None = None,
        licence: str | None = None,
        dtype: StoredType = "fp32",
        **about: Any,
    ) -> Path:
        """Write a patch folder: complete or not at all, over an older patch of the same path.

        Args:
            folder: Where to; new, empty, or an older patch.
            name: Which patch; the only one when not given.
            training: Summary of the training run for `patch.json` and the card; the loaded one is
                kept when not given.
            scores: Rows of the card's score table.
            licence: Licence of the weights.
            dtype: Floating-point type of the files: "fp16" and "bf16" halve them and round the
                weights. Whatever it is, a loaded patch computes in fp32.
            **about: Other fields of `PatchConfig` that describe it: `datasets` (a list of `{"name":
                ..., "licence": ...}`), `language`, `example`, and `probe` (from `make_probe`).

        Raises:
            PatchError: If the folder holds something else, the weights hold a NaN or are too large
                for fp16, or a base patch of it was never saved or has changed since.
        """
        patch = self.patches[known_name(name, self.patches)]
        about |= {"training": training, "scores": scores, "licence": licence, "dtype": dtype}
        return write_patch(folder, patch, self.base, self.patches, about)

    def push_to_hub(
        self,
        repo: str,
        name: str | None = None,
        *,
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> str:
        """Publish a patch on the Hub, in one commit; the address of the commit.

        Args:
            repo: `owner/name`; see `pave.patches.remote.push_folder`, also for the others.
            name: Which patch; the only one when not given.
            private: Whether only its owner may read it; the account's default when not given.
            revision: Branch to write to; main when not given.
            token: With the right to write.

        Raises:
            PatchError: If it cannot be saved, or the Hub cannot be reached or refuses.
        """
        with saved_for_hub(self, repo, name) as folder:
            return push_folder(folder, repo, private=private, revision=revision, token=token)

    def delete_patch(self, name: str) -> None:
        """Take one patch off the base; without any the base is fed as before the first was loaded.

        Raises:
            PatchError: If there is no such patch, or another one was trained on top of it.
        """
        name = known_name(name, self.patches)
        above = on_top_of(self.patches, name)
        if above:
            raise PatchError(
                f"patch '{above[0]}' was trained on top of '{name}'; delete '{above[0]}' first"
            )
        detach(self, name)
        if not self.patches and self._fed is not None:
            self.base.use(self._fed)
            self._fed = None

    def unpatch(self) -> Any:
        """Take everything off and return the plain model: same modules, same keys, same logits."""
        for name in reversed(list(self.patches)):  # base patches came before those on top of them
            self.delete_patch(name)
        self.seam.detach()
        self.base.use(self._inputs)
        return self.model.eval()

    def set_patches(self, weights: Weights) -> None:
        """Choose which patches work and how strongly; patches not named are off.

        A weight scales the fusion's residual and the LoRA's update alike; 1 is as trained. Several
        patches add up.

        Raises:
            PatchError: If a patch is unknown or a weight is not a finite number.
        """
        check_weights(weights, self.patches)
        with self.lock:  # not in the middle of somebody's answer
            for name, patch in self.patches.items():
                patch.weight = float(weights.get(name, 0.0))
            settle(self)

    def merge(self) -> None:
        """Fold the LoRAs at work, at their weights, into copies of the layers' weights.

        What is left to pay is the fusion. The base's own weights are not touched, so it still comes
        back to the bit; the copies take as much memory as the adapted layers. They serve calls
        without gradients for which just these LoRAs are on, until the LoRA's weights change (but a
        change through `.data` is not seen); all others go the usual way. Logits differ by rounding.
        PatchError where a layer has no plain weights to fold into, such as a quantised one.
        """
        with self.lock:
            self.loras.merge()

    def unmerge(self) -> None:
        """Drop the copies that `merge` made and give their memory back."""
        with self.lock:
            self.loras.unmerge()

    @contextlib.contextmanager
    def disable_patches(self) -> Iterator[None]:
        """For the time of the context this is exactly the base."""
        before = {name: patch.weight for name, patch in self.patches.items()}
        self.set_patches({})
        try:
            yield
        finally:
            # A patch that came meanwhile keeps its weight; one that went is not missed.
            now = {name: patch.weight for name, patch in self.patches.items()}
            self.set_patches({name: before.get(name, weight) for name, weight in now.items()})

    def set_trainable(self, name: str, trainable: bool) -> None:
        """Freeze or unfreeze one patch, e.g. to train a second one on top of a finished first."""
        self.patches[known_name(name, self.patches)].trainable = as_flag(trainable, "trainable")
        settle(self)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What training changes: `<patch>.fusion|lora.<key>` -> parameter."""
        found: dict[str, nn.Parameter] = {}
        for name, patch in self.patches.items():
            for key, parameter in patch.trainable_parameters().items():
                found[f"{name}.{key}"] = parameter
        return found

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """What checkpoints hold: the trainable parameters, and the buffers of their fusions."""
        found: dict[str, Tensor] = {}
        for name, patch in self.patches.items():
            for key, value in patch.checkpoint_tensors().items():
                found[f"{name}.{key}"] = value
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
        with self.lock:
            copy_values(state, own)

    def info(self) -> dict[str, Any]:
        """What is on the base, as plain data: base, patches with weights and sizes, totals."""
        return describe(self.base, self.patches)

    def summary(self) -> str:
        """One line as peft prints it: trainable, all, per cent."""
        return summarise(self.base, self.patches)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        self,
        channels: Side | None = None,
        times: Times | None = None,
        visuals: Visuals | None = None,
        *,
        patches: Weights | None = None,
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
            patches: Patch -> weight, for this call alone and as `set_patches` takes them, so that
                threads may ask with different patches; the model's own when not given.
            **inputs: The base's own inputs, `labels` and `logits_to_keep` included.

        Raises:
            ChannelError: If clips and side channels do not fit each other.
            PatchError: If `patches` names one that is not there, a weight is no finite number, or
                the model is training.
        """
        with called(self, channels, times, visuals, weights=patches, inputs=inputs) as ready:
            return self.model(**ready)

    @torch.no_grad()
    def generate(
        self,
        channels: Side | None = None,
        times: Times | None = None,
        visuals: Visuals | None = None,
        *,
        patches: Weights | None = None,
        **inputs: Any,
    ) -> Any:
        """The base's `generate` with the patches at work; arguments of `forward` and `generate`."""
        # Nothing, but for families whose beams need help.
        generating = self.base.family.generating
        with (
            called(self, channels, times, visuals, weights=patches, inputs=inputs) as ready,
            generating,
        ):
            if self.loras.masked:  # code that is compiled on the way does not look for it
                ready = {**ready, "disable_compile": True}
            return self.model.generate(**ready)

    @overload
    def ask(  # type: ignore[overload-overlap]  # a str is a sequence of str too; the first signature wins
        self,
        video: str | Path | Frames,
        question: str,
        *,
        channels: Media = ...,
        frames: FrameWord | None = ...,
        system: str | None = ...,
        max_new_tokens: int = ...,
        sampling: Sampling | None = ...,
        patches: Weights | None = ...,
    ) -> str: ...
    @overload
    def ask(
        self,
        video: str | Path | Frames,
        question: Sequence[str],
        *,
        channels: Media = ...,
        frames: FrameWord | None = ...,
        system: str | None = ...,
        max_new_tokens: int = ...,
        sampling: Sampling | None = ...,
        patches: Weights | None = ...,
    ) -> list[str]: ...
    def ask(
        self,
        video: str | Path | Frames,
        question: str | Sequence[str],
        *,
        channels: Media = None,
        frames: FrameWord | None = None,
        system: str | None = None,
        max_new_tokens: int = 64,
        sampling: Sampling | None = None,
        patches: Weights | None = None,
    ) -> str | list[str]:
        """Ask about a video.

        The channels of the active patches are encoded from it (or from `channels`). The question is
        put as in the training of the patches at work.

        Args:
            video: A video file, a folder of frames, or frames (`pave.as_frames(array, fps=2)`), of
                which all are looked at.
            question: One question, or several that share decoding and visual tokens.
            channels: Channel (or patch name) -> its media, or ready `Tokens`, where the video
                itself does not hold it.
            frames: Frames to sample evenly, or "auto" for those that the base's own video processor
                would take; when not given, as the patches at work were trained, or the base's own
                number.
            system: A system message before each question, where the base's chat template takes one.
            max_new_tokens: Longest answer, in tokens.
            sampling: How the answer is drawn, its length included; greedily when not given. With
                `n` of several answers, one question has a list of them.
            patches: Patch -> weight, for this question alone; see `forward`.

        Returns:
            The answer, or a list of answers for a list of questions. What a model thinks before it
            answers is left out (`Sampling.thinking`).

        Raises:
            MediaError: If the video cannot be read.
            ChannelError: If a channel's tokens do not fit the patch.
            ConfigError: If an argument is of a wrong kind, or no frames or tokens are asked for.
        """
        sampling = as_sampling(sampling, max_new_tokens)
        questions = [question] if isinstance(question, str) else question
        media = {} if channels is None else channels
        model = Chosen(self, patches)
        how: Any = {"channels": media, "frames": frames, "sampling": sampling}
        if system is None:
            answers = ask(model, video, questions, **how)
        else:
            answers = ask_behind(model, system, video, questions, **how)
        return answers[0] if isinstance(question, str) and len(answers) == 1 else answers

    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: Literal[False] = ...,
        sampling: Sampling | None = ...,
        patches: Weights | None = ...,
    ) -> str: ...
    @overload
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: Literal[True],
        sampling: Sampling | None = ...,
        patches: Weights | None = ...,
    ) -> Iterator[str]: ...
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        stream: bool = False,
        sampling: Sampling | None = None,
        patches: Weights | None = None,
    ) -> str | list[str] | Iterator[str]:
        """Answer the last message of a talk; `pave.Conversation` keeps a talk for you.

        Args:
            messages: As transformers has them, user and assistant in turn: `{"role": "user",
                "content": ...}`; a system message may stand before them. Content is a text or a
                list of parts, `{"type": "text", "text": ...}`, `{"type": "video", "video": path or
                frames}` with `frames`, `channels` (see `ask`) and `fps` or `times` of an array,
                `{"type": "image", "image": path or picture}`. What texts spell of tokens is text. A
                talk without clips is answered by the base, and by patches without a channel.
            stream: Give pieces of the answer while it is generated.
            sampling: How the answer is drawn; greedily, 256 tokens at most, when not given. With
                `n` of several answers there is a list of them.
            patches: Patch -> weight, for this answer alone; see `forward`.

        Raises:
            PaveError: As `ask`; if the base takes no pictures, or its chat template no system
                message; if messages are of a wrong kind.
        """
        sampling = as_sampling(sampling, 256)
        turns = turns_of(messages)
        model = Chosen(self, patches)
        if as_flag(stream, "stream"):
            return reply_in_pieces(model, turns, sampling, {})
        answers = reply(model, turns, sampling, {})
        return answers[0] if len(answers) == 1 else answers

    def encoder(self, name: str, channel: str | None = None) -> Encoder | None:
        """The encoder of a patch's channel, made once; None if its tokens come ready-made.

        Args:
            name: The patch.
            channel: Which channel, of a patch with several.
        """
        return encoder_of(self, name, channel)

    def train(self, mode: bool = True) -> Self:
        """Training mode for trainable patches and the language model alone.

        Tower and frozen patches stay in eval mode: they drop nothing out.
        """
        with self.lock:
            super().train(mode)
            if self.loras.kept:  # the last batch is done
                self.loras.release()
            for child, module in self.model.model.named_children():
                if child != self.base.family.language_model:
                    module.eval()
        return self

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Trade time for memory in language model and fusions; the Trainer's name for it."""
        for patch in self.patches.values():
            for part in patch.parts.values():
                fusion: Any = part.fusion  # one that knows no such thing does not read it
                fusion.checkpointing = True
        # Reentrant checkpointing needs inputs that train, and a frozen base has none.
        kwargs = {"use_reentrant": False, **(activation_checkpointing_kwargs or {})}
        hf_compat.enable_checkpointing(self.model, kwargs, **options)
