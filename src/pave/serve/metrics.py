"""Counts of a server, as Prometheus reads them.

The text format is a few lines, so no client library is needed for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

_HELP = {
    "requests_total": ("counter", "Requests that were answered, by status."),
    "prompt_tokens_total": ("counter", "Tokens of prompts, visual tokens included."),
    "answer_tokens_total": ("counter", "Tokens that were generated."),
    "batches_total": ("counter", "Generations; several requests may share one."),
    "batched_requests_total": ("counter", "Requests that were answered by these generations."),
    "clips_read_total": ("counter", "Clips that were decoded and seen."),
    "clips_kept_total": ("counter", "Clips that were found in memory."),
    "prefixes_read_total": ("counter", "Prefixes that the language model read."),
    "prefixes_kept_total": ("counter", "Prefixes whose keys and values were found in memory."),
    "first_token_seconds_sum": ("counter", "Seconds from arrival to the first token."),
    "first_token_seconds_count": ("counter", "Answers of which the first token was generated."),
    "request_seconds_sum": ("counter", "Seconds from arrival to the last token."),
    "request_seconds_count": ("counter", "Requests that were answered in full."),
    "requests_in_progress": ("gauge", "Requests that are read, wait, or are answered now."),
    "requests_waiting": ("gauge", "Requests that wait for the model."),
    "memory_bytes": ("gauge", "Bytes of memory used for clips and prefixes."),
}


class Metrics:
    """Numbers that several threads add to.

    Example:
        >>> metrics = Metrics()
        >>> metrics.add("requests_total", status="200")
        >>> 'pave_requests_total{status="200"} 1' in metrics.text({})
        True
    """

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count up."""
        # Label values are ours (statuses), never a client's words: those could be without number.
        words = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        key = (name, f"{{{words}}}" if words else "")
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def value(self, name: str) -> float:
        """A number without labels; 0 where nothing was counted."""
        with self._lock:
            return self._values.get((name, ""), 0)

    def text(self, gauges: Mapping[str, float]) -> str:
        """All numbers; a counter without labels is there from the start.

        Args:
            gauges: Numbers of now.
        """
        with self._lock:
            values = dict(self._values)
        for name, number in gauges.items():
            values[name, ""] = number
        lines = []
        for name, (kind, words) in _HELP.items():
            lines += [f"# HELP pave_{name} {words}", f"# TYPE pave_{name} {kind}"]
            rows = [key for key in values if key[0] == name]
            if not rows and name != "requests_total":
                rows = [(name, "")]
            for row in sorted(rows):
                lines.append(f"pave_{name}{row[1]} {values.get(row, 0):g}")
        return "\n".join(lines) + "\n"
