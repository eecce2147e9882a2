"""`pave patch`."""

from __future__ import annotations

from pathlib import Path

from pave.cli import output


def patch_verb(checkpoint: Path, /, *, out: Path | None = None, base: str | None = None) -> int:
    """Write a patch folder from a checkpoint of a run that is not finished.

    The patch has exactly the weights that the run would have saved after that step. Neither records
    nor media are needed.

    ```
    pave patch runs/sound
    pave patch runs/sound/checkpoints/checkpoint-400 --out patches/sound-400
    ```

    Args:
        checkpoint: A checkpoint, or a run folder, whose newest checkpoint is taken.
        out: Folder for the patch. By default `patch-STEP` in the run folder.
        base: Where the base is now, if it is not where the run's settings say.
    """
    from pave.train.unfinished import patch_of

    output.log_to_stderr()
    output.line(str(patch_of(checkpoint, out, base=base)))
    return 0
