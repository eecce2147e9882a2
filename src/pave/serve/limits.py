"""`Limits`: what one request may ask of a server, and what is refused with the limit's name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """What one request may ask for; a request for more is refused with the limit in words.

    Pixels are limited by the variables of `pave.media` (`PAVE_MAX_PIXELS` and its like), which have
    lower defaults in a server.

    Example:
        >>> Limits(max_queue=8).max_upload_mb
        64
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_upload_mb: int = Field(
        64,
        ge=1,
        le=65536,
        description="Largest request, and largest file that a request names, in MB.",
    )
    max_media_seconds: int = Field(600, ge=1, description="Longest clip or sound, in seconds.")
    max_queue: int = Field(
        64,
        ge=1,
        description="Most requests in progress (being read, waiting, or being "
        "answered) at the same time.",
    )
    max_request_seconds: int = Field(
        300,
        ge=1,
        description="Longest time from the arrival of a request to the end of its "
        "answer, in seconds.",
    )
    max_answer_tokens: int = Field(
        2048,
        ge=1,
        description="Longest answer in tokens; a request without max_tokens gets at most 256.",
    )
    max_answers: int = Field(8, ge=1, description="Most answers per request (n).")
    cache_mb: int = Field(
        2048,
        ge=0,
        description="Memory for clips that have been read, in MB; with 0, none are kept.",
    )

    @property
    def upload_bytes(self) -> int:
        """The largest request, as bytes of media; what base64 adds is not counted."""
        return self.max_upload_mb * 10**6
