"""How JSON of ours becomes what Python knows: objects become dataclasses, lists become tuples, which cannot change."""

from typing import Any, ClassVar

from marshmallow import Schema, fields, post_load


class Tuple(fields.List[Any]):
    """A JSON list that becomes a tuple, because manifests are shared and must not change."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(*args, **kwargs))


class Shape(Schema):
    """Checks a JSON object member by member, refuses unknown ones, and makes the dataclass of it."""

    made: ClassVar[type]

    @post_load
    def make(self, members: dict[str, Any], **_: object) -> object:
        """Make it."""
        return self.made(**members)
