"""What a scene looks like: its frames from every camera, its depth, and where the cameras are."""

from __future__ import annotations
