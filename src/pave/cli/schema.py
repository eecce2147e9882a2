"""`pave schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pave.cli import output

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""The version of JSON Schema that pydantic writes."""


def schema_verb(what: Literal["train", "eval", "record"], /) -> int:
    """Print the JSON schema of a settings file, so that an editor can check and complete it.

    Editors with the YAML language server (VS Code, Neovim, Emacs and others) read it where the
    file's first line names it: `# yaml-language-server: $schema=train.schema.json`.

    ```
    pave schema train > train.schema.json
    pave schema eval > eval.schema.json
    pave schema record > record.schema.json
    ```

    Args:
        what: The settings of `pave train` or `pave eval`, or a line of a records file.
    """
    if what == "record":
        from pave.data import Record

        output.as_json(_schema(Record, "a record of pave"))
        return 0
    from pave.evaluate.config import EvalConfig
    from pave.train.config import TrainConfig

    config: type[BaseModel] = TrainConfig if what == "train" else EvalConfig
    schema = _schema(config, f"settings of pave {what}")
    # Flags may give what a file leaves out, so nothing has to be in the file.
    schema.pop("required", None)
    output.as_json(schema)
    return 0


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """What pydantic says of a class, without the example for Python."""
    schema = model.model_json_schema()
    summary = str(schema.get("description", "")).partition("\n\n")[0]
    return {"$schema": DIALECT, **schema, "title": title, "description": summary}
