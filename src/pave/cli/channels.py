"""`pave channels`."""

from __future__ import annotations

from dataclasses import asdict

from pave.cli import output
from pave.cli.settings import Switch


def channels_verb(*, json: Switch = False) -> int:
    """List the side channels and their encoders, with the origin and licence of the weights.

    Encoders from installed packages are listed, too.

    ```
    pave channels
    pave channels --json
    ```

    Args:
        json: Print JSON.
    """
    from pave.channels import describe_encoders

    found = describe_encoders()
    if json:
        output.as_json({"encoders": [asdict(info) for info in found]})
        return 0
    rows = [
        [info.channel, info.name, info.summary, info.weights or "-", info.licence or "-"]
        for info in found
    ]
    output.table(["channel", "encoder", "a token is", "weights", "licence"], rows)
    return 0
