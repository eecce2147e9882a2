"""How measured text gets into a page: between two markers, the rest of the page untouched."""

from __future__ import annotations

import re


def between_marks(page: str, mark: str, text: str) -> str:
    """`page` with the lines between `<!-- mark:start -->` and `<!-- mark:end -->` replaced.

    Raises:
        SystemExit: If the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- {mark}:start -->\n).*?(<!-- {mark}:end -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"the page has no markers <!-- {mark}:start --> and <!-- {mark}:end -->")
    return pattern.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)
