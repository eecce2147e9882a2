"""The page for people: one clip, one question, and what each choice of patches makes of it.

It asks the server that it is mounted on as any client does, and looks beside that into what the
patches do. Nothing of it comes from another host: no fonts, no scripts, no counting of visits.
"""

from __future__ import annotations

import asyncio
import html
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from fastapi import FastAPI

from pave.answer import log_probabilities, questions_about
from pave.data import ClipFeatures
from pave.errors import PaveError
from pave.model.chosen import Chosen
from pave.serve.examples import Example
from pave.serve.figure import draw
from pave.serve.insight import look_into
from pave.serve.service import Service
from pave.serve.snippets import as_command, as_curl, as_python
from pave.serve.uploads import sent_clip, side_parts, text_part, video_part
from pave.serve.wire import ChatRequest, request_of

PATH = "/ui"
TOKENS = 64
# Programs have the server's own interface.
_OURS: Any = {"api_visibility": "private"}
_CSS = """
.gradio-container {font-family: system-ui, sans-serif}
button[role="tab"].selected, .info-text, .or {color: inherit !important}
table.columns {width: 100%; border-collapse: collapse}
table.columns th, table.columns td {border: 1px solid #8886; padding: 6px; text-align: left}
"""


@dataclass(frozen=True)
class Column:
    """One choice of patches on the page.

    Attributes:
        title: Its heading.
        weights: Patches at work.
        other: Whether it hears another clip's channel.
    """

    title: str
    weights: dict[str, float]
    other: bool = False


class Page:
    """The page's state and what its buttons do.

    Args:
        service: What answers.
        sources: Patch -> where it was loaded from, for code to copy.
        base: Where the base was loaded from.
        examples: Clips to choose from.
        first: The example that the page opens with, if any.
    """

    def __init__(
        self,
        service: Service,
        *,
        sources: Mapping[str, str],
        base: str,
        examples: Sequence[Example] = (),
        first: Example | None = None,
    ) -> None:
        self._service = service
        self._sources = sources
        self._base = base
        self._examples = {example.title: example for example in examples}
        self._first = first
        if first is not None:
            self._examples[first.title] = first
        patches = service.model.patches
        # Those with a channel have a slider; those without stand beside them, to be compared with.
        self._with_channel = [name for name in patches if patches[name].parts]
        self._lora_only = [name for name in patches if not patches[name].parts]
        # Channels that no film holds, which are sent beside it.
        sent = []
        for patch in patches.values():
            for channel, part in patch.parts.items():
                if not part.in_video and part.spec.encoder is not None:
                    sent.append(channel)
        self._sent = list(dict.fromkeys(sent))

    def allowed(self) -> list[str]:
        """Files that the page may show, beside what is uploaded."""
        return [str(example.video) for example in self._examples.values()]

    def example(self, title: str) -> tuple[str | None, str]:
        """Film and question of an example."""
        found = self._examples.get(title)
        if found is None:
            return None, ""
        return str(found.video), found.question

    async def ask(
        self, clip: str | None, other: str | None, question: str, address: str, *rest: Any
    ) -> tuple[str, str, str, str, str]:
        """Table, figure, and the question as Python, command and curl.

        `rest` has a weight for each patch with a channel, then the files of each channel that is
        sent beside a film.
        """
        if not clip or not question.strip():
            raise gr.Error("Choose a clip and write a question first.", print_exception=False)
        count = len(self._with_channel)
        chosen = self._chosen(rest[:count])
        files = dict(zip(self._sent, rest[count:], strict=True))
        beside = {channel: list(paths) for channel, paths in files.items() if paths}
        try:
            columns, features = await self._columns(clip, other, question, chosen, beside)
            drawn = await self._drawn(clip, chosen, features, beside)
        except PaveError as error:
            raise gr.Error(str(error), print_exception=False) from error
        name = Path(clip).name
        where = (self._sources, chosen, self._base)
        return (
            columns,
            drawn,
            as_python(name, question, *where),
            as_command(name, question, *where),
            as_curl(name, question, self._model(chosen), address),
        )

    async def say(
        self, clip: str | None, text: str, model: str, talk: list[dict[str, Any]]
    ) -> AsyncIterator[tuple[list[dict[str, Any]], list[dict[str, Any]], str]]:
        """The next turn of a chat, while it is answered: what is shown, what was said, the box."""
        if not text.strip():
            yield _shown(talk), talk, ""
            return
        content: list[dict[str, Any]] = [text_part(text)]
        if clip and not talk:  # the clip is shown once
            content.insert(0, video_part(clip))
        talk = [*talk, {"role": "user", "content": content}]
        asked = {"model": model, "messages": talk, "stream": True}
        running = None
        said = ""
        try:
            running = self._service.enter()
            await self._service.begin(request_of(asked), running)
            async for piece in running.pieces(1):
                said += piece.text
                yield _shown([*talk, {"role": "assistant", "content": said}]), talk, ""
        except PaveError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            if running is not None:
                running.close()
        talk = [*talk, {"role": "assistant", "content": said}]
        yield _shown(talk), talk, ""

    def _chosen(self, weights: Sequence[float]) -> dict[str, float]:
        """Patches whose slider is not at 0."""
        pairs = zip(self._with_channel, weights, strict=True)
        return {name: float(weight) for name, weight in pairs if weight}

    def _model(self, weights: Mapping[str, float]) -> str:
        """The model's name in a request."""
        if not weights:
            return self._service.base
        words = []
        for name, weight in weights.items():
            words.append(name if weight == 1 else f"{name}:{weight:g}")
        return "+".join(words)

    async def _columns(
        self,
        clip: str,
        other: str | None,
        question: str,
        chosen: dict[str, float],
        beside: Mapping[str, list[str]],
    ) -> tuple[str, ClipFeatures]:
        """The table of answers, and what was seen of the clip."""
        columns = [Column("base", {})]
        columns += [Column(f"{name} (LoRA only)", {name: 1.0}) for name in self._lora_only]
        title = self._model(chosen)
        if not chosen:
            title = "all patches off: this is the base, bit for bit"
        columns.append(Column(title, chosen))
        if other and chosen:
            columns.append(Column(f"{title}, with the other clip's channel", chosen, other=True))
        # One after the other: those of one clip find it in memory.
        answers = []
        for column in columns:
            sides = self._sides(column, other, beside)
            content = [video_part(clip), *side_parts(sides), text_part(question)]
            messages = [{"role": "user", "content": content}]
            asked = {"model": self._model(column.weights), "messages": messages}
            request = ChatRequest.model_validate({**asked, "max_tokens": TOKENS})
            answers += await self._service.answers(request)
        # The patch's answer against the base's, as each column weighs them.
        base, patch = answers[0], answers[1 + len(self._lora_only)]
        rows = []
        features = None
        for column, answer in zip(columns, answers, strict=True):
            sent = sent_clip(clip, self._sides(column, other, beside))
            seen = await self._service.seen(sent, column.weights)
            if column.weights == chosen and not column.other:
                features = seen
            weighed = await self._weighed(seen, column.weights, question, [patch, base])
            rows.append((column.title, answer, weighed))
        assert features is not None
        return _table(rows, patch, base), features

    def _sides(
        self, column: Column, other: str | None, beside: Mapping[str, list[str]]
    ) -> dict[str, list[str]]:
        """Channel -> files of it that one column gets beside the film."""
        heard: set[str] = set()
        for name in column.weights:
            heard |= self._service.model.patches[name].parts.keys()
        found = {channel: paths for channel, paths in beside.items() if channel in heard}
        if column.other and other is not None:
            for channel in self._channels(column.weights):
                found[channel] = [other]
        return found

    def _channels(self, weights: Mapping[str, float]) -> list[str]:
        """Channels of some patches that a film holds itself."""
        patches = self._service.model.patches
        found = []
        for name in weights:
            for channel, part in patches[name].parts.items():
                if part.in_video:
                    found.append(channel)
        return list(dict.fromkeys(found))

    async def _weighed(
        self,
        features: ClipFeatures,
        weights: dict[str, float],
        question: str,
        answers: list[str],
    ) -> list[float]:
        """Mean log-probability of a token of each answer; none where there is nothing to weigh."""
        if not all(answers):
            return []
        model = Chosen(self._service.model, weights)

        def weigh() -> list[float]:
            put = questions_about(model, features, [[(question, None)]])
            return log_probabilities(model, [put], [[answers]])[0][0]

        return await asyncio.wrap_future(self._service.engine.run(weigh))

    async def _drawn(
        self,
        clip: str,
        chosen: dict[str, float],
        features: ClipFeatures,
        beside: Mapping[str, list[str]],
    ) -> str:
        """The figure."""
        insights = []  # one row of the figure each
        for name in chosen:
            patch = self._service.model.patches[name]
            for channel in patch.tokens_in(features.channels):
                work = partial(look_into, patch, features, channel)
                insights.append(await asyncio.wrap_future(self._service.engine.run(work)))
        sent = sent_clip(clip, self._sides(Column("", chosen), None, beside))
        look = await self._service.looked_at(sent, chosen, sent.video)
        return draw(look, insights, "sound")

    def blocks(self) -> gr.Blocks:
        """The page itself."""
        with gr.Blocks(title="pave", analytics_enabled=False, delete_cache=(600, 3600)) as page:
            gr.Markdown(f"# pave: what a patch does\nBase: **{html.escape(self._service.base)}**")
            with gr.Tab("Ask"):
                self._asking()
            with gr.Tab("Chat"):
                self._chatting()
        blocks: gr.Blocks = page
        return blocks

    def _asking(self) -> None:
        """The first tab."""
        with gr.Row():
            # Side by side on a desktop, one below the other on a phone.
            with gr.Column(scale=1, min_width=300):
                titles = list(self._examples)
                first = None if self._first is None else self._first.title
                film, asked = self.example(first or "")
                example = gr.Dropdown(
                    titles,
                    value=first,
                    label="Example",
                    visible=bool(titles),
                )
                clip = gr.Video(
                    value=film,
                    label="Clip, with its sound",
                    sources=["upload"],
                    height=260,
                )
                question = gr.Textbox(
                    value=asked,
                    label="Question",
                    placeholder="What do you hear?",
                )
                sliders = self._sliders()
                files = [self._file(channel) for channel in self._sent]
                with gr.Accordion("Another clip's channel", open=False):
                    other = gr.Video(
                        label="The clip whose channel is used",
                        sources=["upload"],
                    )
                button = gr.Button("Ask", variant="primary")
            with gr.Column(scale=2, min_width=300):
                table = gr.HTML()
                figure = gr.HTML()
                with gr.Accordion("Copy as code", open=False):
                    python = gr.Code(label="Python", language="python")
                    command = gr.Code(label="Command line", language="shell")
                    curl = gr.Code(label="curl", language="shell")
        # The browser knows under which address it reached us.
        address = gr.Textbox(visible=False)
        example.change(
            self.example,
            [example],
            [clip, question],
            **_OURS,
        )
        asking: Any = {
            "fn": self.ask,
            "inputs": [clip, other, question, address, *sliders, *files],
            "outputs": [table, figure, python, command, curl],
            "js": "(c, o, q, a, ...w) => [c, o, q, window.location.origin, ...w]",
        }
        button.click(**asking, **_OURS)
        question.submit(**asking, **_OURS)

    def _sliders(self) -> list[gr.Slider]:
        """A weight for each patch with a channel."""
        sliders = []
        for place, name in enumerate(self._with_channel):
            # The others would only add noise to a first look.
            start = 1.0 if place == 0 else 0.0
            slider = gr.Slider(
                0,
                2,
                value=start,
                step=0.1,
                label=f"Weight of {name} (0: off)",
            )
            sliders.append(slider)
        return sliders

    def _file(self, channel: str) -> gr.File:
        """Where files of a channel are uploaded that no film holds."""
        return gr.File(
            label=f"Files of the channel {channel}",
            file_count="multiple",
            type="filepath",
            height=120,
        )

    def _chatting(self) -> None:
        """The second tab."""
        names = [self._service.base, *self._service.model.patches]
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                clip = gr.Video(
                    label="Clip of the conversation",
                    sources=["upload"],
                    height=260,
                )
                model = gr.Dropdown(
                    names,
                    value=names[-1],
                    label="Model",
                    allow_custom_value=True,
                    info="A mix is written sound:0.5+depth",
                )
            with gr.Column(scale=2, min_width=300):
                # Without the one that shares: it has no name, and nothing leaves the machine.
                shown = gr.Chatbot(
                    label="Talk",
                    height=360,
                    buttons=["copy", "copy_all"],
                )
                text = gr.Textbox(
                    label="Say",
                    placeholder="What do you hear?",
                )
                clear = gr.Button("Begin anew")
        talk = gr.State([])  # as requests hold it, with the clip
        text.submit(
            self.say,
            [clip, text, model, talk],
            [shown, talk, text],
            **_OURS,
        )
        clear.click(
            lambda: ([], [], ""),
            None,
            [shown, talk, text],
            **_OURS,
        )


def mount(app: FastAPI, page: Page, service: Service, key: str | None) -> None:
    """Put the page on the server, below `/ui`.

    Args:
        app: The server's application.
        page: The page.
        service: Its files go where the server's go.
        key: The API key, which the page then asks for; the user's name is "pave".
    """
    # Uploads end with the server, whatever becomes of the page that sent them.
    os.environ["GRADIO_TEMP_DIR"] = service.folder
    gr.mount_gradio_app(
        app,
        page.blocks(),
        PATH,
        auth=None if key is None else ("pave", key),
        allowed_paths=page.allowed(),
        max_file_size=service.limits.upload_bytes,
        footer_links=[],
        enable_monitoring=False,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=_CSS,
        ssr_mode=False,
    )


def _shown(talk: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A talk as the chat shows it: words alone."""
    rows = []
    for message in talk:
        # The text is the last part of what a user says.
        content = message["content"]
        if not isinstance(content, str):
            content = content[-1]["text"]
        rows.append({"role": message["role"], "content": content})
    return rows


def _table(rows: Sequence[tuple[str, str, list[float]]], patch: str, base: str) -> str:
    """Columns with answers and margins, as HTML."""
    heads, answers, margins = [], [], []
    for title, answer, weighed in rows:
        heads.append(f'<th scope="col">{html.escape(title)}</th>')
        answers.append(f"<td>{html.escape(answer)}</td>")
        if not weighed:
            margins.append("<td>no answer to compare</td>")
        elif patch == base:
            margins.append(f"<td>{weighed[0]:.2f}</td>")
        else:
            margins.append(f"<td>{weighed[0] - weighed[1]:+.2f}</td>")
    words = "mean log-probability per token of the answer"
    if patch != base:
        words = (
            f"margin of “{html.escape(patch)}” over “{html.escape(base)}”, in mean "
            "log-probability per token"
        )
    return (
        # A phone scrolls the table, not the page.
        f'<div style="overflow-x:auto" tabindex="0" role="group" aria-label="Answers">'
        f'<table class="columns"><caption>Answers</caption><tr><td></td>{"".join(heads)}</tr>'
        f'<tr><th scope="row">answer</th>{"".join(answers)}</tr>'
        f'<tr><th scope="row">{words}</th>{"".join(margins)}</tr></table></div>'
    )
