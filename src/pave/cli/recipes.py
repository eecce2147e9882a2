"""`pave recipes`."""

from __future__ import annotations

from pave.cli import output
from pave.cli.settings import Switch


def recipes_verb(name: str | None = None, /, *, json: Switch = False) -> int:
    """List the recipes of the paper's experiments, or print one of them.

    `pave train --config NAME` takes a recipe by its name. To change more than a few settings, print
    it into a file of your own.

    ```
    pave recipes
    pave recipes avqa-7b > my.yaml
    pave train --config avqa-7b --records train.jsonl --out runs/avqa
    ```

    Args:
        name: The recipe to print. By default, all are listed.
        json: Print JSON.
    """
    from pave.train.recipes import list_recipes, recipe_file

    if name is not None:
        # As it is written, comments included: it is meant to be changed by hand.
        text = recipe_file(name).read_text(encoding="utf-8")
        if json:
            from pave.texts import parse_yaml

            output.as_json(parse_yaml(text))
        else:
            output.piece(text)
        return 0
    found = list_recipes()
    if json:
        output.as_json(found)
    else:
        output.table(["recipe", "what it trains"], list(found.items()))
    return 0
