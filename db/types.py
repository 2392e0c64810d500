"""The types of columns that the two databases spell differently."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Dialect, Integer, LargeBinary, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine


class RecordId(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type, 16 bytes on SQLite (as text it would double two indexes)."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(LargeBinary(16) if dialect.name == "sqlite" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        return value.bytes if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> UUID | None:
        return UUID(bytes=value) if isinstance(value, bytes) else value


# SQLite makes a primary key the row's own address only when its type is spelled INTEGER.
Idx = BigInteger().with_variant(Integer, "sqlite")
