"""The contract itself, rendered once and served from memory."""

from __future__ import annotations

from dataclasses import dataclass

from api.calls import Answer, Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Serves the composed document without its internal members."""

    content: bytes
    tag: str

    async def read(self, _call: Call) -> Answer:
        """Give the bytes made at start-up."""
        return Answer(content=self.content, headers={"Cache-Control": "public, max-age=60", "ETag": self.tag})
