"""A base with a patch as a model of lmms-eval (0.7), found by its name `pave`.

Importing this needs lmms-eval.

lmms-eval hands over a finished prompt and a function that names the video; the channels that the
video itself holds (sound, fast frames) are encoded from it. Answers are greedy, whatever the
benchmark's generation settings say of sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmms_eval.api.model import lmms

from pave.bases import load_base
from pave.bases.inputs import FrameWord
from pave.errors import ConfigError
from pave.model import PatchedModel
from pave.placement import find_device, running_on

MAX_NEW_TOKENS = 64
"""Longest answer where a benchmark does not say."""


class Patched(lmms):  # type: ignore[misc]  # lmms-eval accepts subclasses of its own class only
    """`--model pave --model_args pretrained=BASE,patch=FOLDER`.

    Args:
        pretrained: The base: a folder, a Hub id, or "smol".
        patch: Folder or Hub id of a patch; left out for the base as it is.
        frames: Frames sampled evenly from a video, or "auto" for those that the base's own
            processor takes; the base's own number when left out.
        device: Where to run, as lmms-eval passes it on; the best device there is when left out.
        dtype: Floating-point type of the base, as of `load_base`.
        attention: What the base attends with, as of `load_base`.
        quantize: How its language model is quantised, as of `load_base`.
        revision: Branch, tag or commit of a base on the Hub.
        batch_size: Passed by lmms-eval; videos are asked about one at a time.
    """

    # For lmms-eval: requests are prompts, not the messages of a chat.
    is_simple = True

    def __init__(  # noqa: PLR0913 - one for each word of --model_args
        self,
        pretrained: str = "smol",
        patch: str | None = None,
        frames: FrameWord | None = None,
        *,
        device: str | None = None,
        dtype: str = "auto",
        attention: str | None = None,
        quantize: str | None = None,
        revision: str | None = None,
        batch_size: int | str = 1,
    ) -> None:
        """Load the base and put the patch on it."""
        super().__init__()
        self.frames = frames
        self.place = find_device(device or "auto")
        base = load_base(
            pretrained,
            dtype=dtype,
            device=self.place,
            attention=attention,
            quantize=quantize,
            revision=revision,
        )
        self.model = PatchedModel(base)
        if patch:
            self.model.load_patch(patch)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy answers, one a request.

        Raises:
            ConfigError: If a request is not about one video file or folder of frames.
        """
        return [self._answer(request) for request in requests]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refused: the benchmarks of Video LLMs score what is said.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "pave only generates answers (generate_until); choose a benchmark that does not "
            "score likelihoods"
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refused.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "pave answers one question at a time here (generate_until); choose a benchmark with "
            "a single round"
        )

    def _answer(self, request: Any) -> str:
        """The answer to one request, put as the patch learnt to be asked."""
        # In lmms-eval's order; `visual` gives a document's videos.
        prompt, settings, visual, doc, task, split = request.args
        videos = visual(self.task_dict[task][split][doc])
        if len(videos) != 1 or not isinstance(videos[0], str):
            kinds = ", ".join(type(video).__name__ for video in videos) or "nothing"
            raise ConfigError(
                f"{task}, question {doc}: pave takes the path of one video, got {kinds}; choose a "
                "video benchmark"
            )
        limit = int(settings.get("max_new_tokens") or MAX_NEW_TOKENS)
        with running_on(self.place):  # encoders too
            answer: str = self.model.ask(
                videos[0], prompt, frames=self.frames, max_new_tokens=limit
            )
        # Lets lmms-eval's own --use_cache go on after a kill.
        self.cache_hook.add_partial("generate_until", (prompt, settings), answer)
        return answer
