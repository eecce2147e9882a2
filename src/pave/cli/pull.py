"""`pave pull`."""

from __future__ import annotations

from pave.cli import output
from pave.cli.settings import Switch


def pull_verb(repo: str, /, *, revision: str | None = None, json: Switch = False) -> int:
    """Fetch a patch from the Hugging Face Hub into the local cache, and check that it is whole.

    Prints its folder. Afterwards the patch can be used by its name without a connection.

    ```
    pave pull someone/pave-sound
    pave pull someone/pave-sound --revision v1.0
    ```

    Args:
        repo: The repository, as owner/name.
        revision: A branch, a tag or a commit; by default main.
        json: Print JSON.
    """
    from pave.errors import PatchError
    from pave.patches.folder import check_folder
    from pave.patches.hub import is_hub_id
    from pave.patches.remote import locate

    if not is_hub_id(repo):
        raise PatchError(f"{repo!r} is not a repository on the Hub; give owner/name")
    folder = locate(repo, revision)
    config = check_folder(folder)
    if json:
        output.as_json({"repo": repo, "folder": folder, "base": config.base.name})
    else:
        output.line(str(folder))
    return 0
