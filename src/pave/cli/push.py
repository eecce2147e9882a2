"""`pave push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pave.cli import output
from pave.cli.settings import Switch

_MANY = Parameter(show_default=False)


def push_verb(
    folder: Path,
    repo: str,
    /,
    *,
    private: Switch = False,
    revision: str | None = None,
    licence: str | None = None,
    dataset: Annotated[tuple[str, ...], _MANY] = (),
    language: Annotated[tuple[str, ...], _MANY] = (),
    json: Switch = False,
) -> int:
    r"""Publish a patch folder on the Hugging Face Hub, in one commit.

    The repository is made if it does not exist. You need a token that may write to it, from
    `hf auth login` or in HF_TOKEN. What you say about licence, data and language is written into
    the folder first, and so onto its card. A patch without a probe gets one if its base is on this
    machine; otherwise a line says why there is none.

    ```
    pave push runs/sound/patch someone/pave-sound --private
    pave push runs/sound/patch someone/pave-sound --licence apache-2.0 \
        --language en --dataset someone/clips=cc-by-4.0
    ```

    Args:
        folder: The patch folder.
        repo: The repository, as owner/name.
        private: Make the repository private. An existing public one is refused.
        revision: The branch to write to, by default main. It is made if it does not exist.
        licence: The licence of the patch's weights, such as apache-2.0.
        dataset: Data that the patch was trained on, as NAME or NAME=LICENCE; may be given several
            times.
        language: The language of the questions, such as en; may be given several times.
        json: Print JSON.
    """
    from pave.model.published import add_probe
    from pave.patches.folder_card import describe_folder
    from pave.patches.remote import push_folder

    fields = {"licence": licence, "language": language, "datasets": list(map(_source, dataset))}
    describe_folder(folder, fields)
    if reason := add_probe(folder):
        output.note(
            f"pushed without a probe, so others cannot check that it loads correctly: {reason}"
        )
    address = push_folder(folder, repo, private=private or None, revision=revision)
    if json:
        output.as_json({"repo": repo, "revision": revision or "main", "commit": address})
    else:
        output.line(address)
    return 0


def _source(words: str) -> dict[str, Any]:
    """`someone/clips=cc-by-4.0` as a data set and its licence."""
    name, _, licence = words.partition("=")
    return {"name": name, "licence": licence or None}
