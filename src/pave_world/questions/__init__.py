"""What is asked about a scene: one module for each channel that a question may take."""

from __future__ import annotations
