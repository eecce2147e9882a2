"""Side channels: encoders that turn a clip's sound, cameras, geometry or precomputed features into `Tokens`.

An encoder is found by channel and name. pave's own are `audio/mel` (log-mel windows, no weights) and `features/file`
(precomputed tokens). A user's own is one class with the `register_encoder` decorator, in the same program or in an installed
package that names it under the entry point group `pave.encoders`.

Example:
    >>> from pave.channels import make_encoder
    >>> make_encoder("audio", "mel", {"n_mels": 40}).dim
    160
"""

from pave.channels.cached import cache_key, encode_cached
from pave.channels.encoder import Encoder
from pave.channels.registry import list_encoders, make_encoder, register_encoder
from pave.store import Source

__all__ = ["Encoder", "Source", "cache_key", "encode_cached", "list_encoders", "make_encoder", "register_encoder"]
