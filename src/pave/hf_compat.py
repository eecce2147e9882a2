"""Every place where pave leans on what transformers, peft, accelerate or torch do not promise.

One function for each private or version-dependent fact, with the versions it was checked with in
its docstring. `tests/test_hf_compat.py` names each attribute, so that an upgrade that takes one
away fails there, in words, and not deep inside a run.
"""

from __future__ import annotations
