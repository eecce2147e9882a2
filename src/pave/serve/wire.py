"""What goes over the wire: the request that is understood, and the answers' objects.

The fields are those of OpenAI's chat completions. A field that is not listed here is refused, since
a client that sets it expects it to do something.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pave.answer import Sampling
from pave.errors import first_problem
from pave.serve.failures import RequestError
from pave.serve.limits import Limits

USUAL_TOKENS = 256

_Stop = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(_Strict):
    """Of a stream: whether its last piece says how many tokens there were."""

    include_usage: bool = False


class PlainText(_Strict):
    """The only format of answers there is."""

    type: Literal["text"]


class ChatRequest(_Strict):
    """The body of a request.

    Example:
        >>> asked = {"model": "smol", "messages": [{"role": "user", "content": "Hello?"}]}
        >>> ChatRequest.model_validate(asked).temperature
        0.0
    """

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(0.0, ge=0, le=2)
    top_p: float | None = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(0, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: _Stop | list[_Stop] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(1, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    # Clients send these at values that change nothing, and labels of their own.
    presence_penalty: Literal[0, None] = None
    frequency_penalty: Literal[0, None] = None
    response_format: PlainText | None = None
    user: str | None = None

    def sampling(self, limits: Limits) -> Sampling:
        """How the answer is drawn.

        Raises:
            RequestError: If more is asked for than the server allows.
            ConfigError: If the settings contradict each other.
        """
        # Two names for one thing, the older one still in use.
        length = self.max_completion_tokens or self.max_tokens
        if length is not None and length > limits.max_answer_tokens:
            raise RequestError(
                f"max_tokens={length:,} is more than the limit of {limits.max_answer_tokens:,} "
                "(max_answer_tokens)",
                param="max_tokens",
            )
        count = self.n or 1
        if count > limits.max_answers:
            raise RequestError(
                f"n={count:,} is more than the limit of {limits.max_answers} (max_answers)",
                param="n",
            )
        # null is what clients send for what they were not told.
        stop = self.stop or []
        return Sampling(
            max_new_tokens=length or min(USUAL_TOKENS, limits.max_answer_tokens),
            temperature=self.temperature or 0.0,
            top_p=self.top_p or 1.0,
            top_k=self.top_k or 0,
            seed=self.seed,
            n=count,
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
        )

    @property
    def top(self) -> int | None:
        """How many likely tokens are told beside each token; None where none is told."""
        if not self.logprobs:
            return None
        return self.top_logprobs or 0


def request_of(body: Any) -> ChatRequest:
    """The request in a body.

    Raises:
        RequestError: If a field is unknown, missing or wrong; the message names it.
    """
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object with 'model' and 'messages'")
    try:
        asked = ChatRequest.model_validate(body)
    except ValidationError as error:
        place, what = first_problem(error)
        if error.errors()[0]["type"] == "extra_forbidden":
            what = "is not supported by this server; leave it out"
        raise RequestError(f"{place or 'the body'}: {what}", param=place or None) from error
    if asked.top_logprobs is not None and not asked.logprobs:
        raise RequestError("top_logprobs needs logprobs: true", param="top_logprobs")
    if asked.stream_options is not None and not asked.stream:
        raise RequestError("stream_options needs stream: true", param="stream_options")
    return asked


def usage(prompt: int, answered: int, cached: int) -> dict[str, Any]:
    """Counts of tokens; visual tokens count as part of the prompt."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": prompt + answered,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def logprobs_of(marks: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Log-probabilities of an answer's tokens, or nothing."""
    if marks is None:
        return None
    return {"content": marks, "refusal": None}
