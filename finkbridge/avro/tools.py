"""Checkers and decoders, which are costly to make: the latest ones are kept."""

from __future__ import annotations

from threading import Lock

from finkbridge.avro.check import Checker
from finkbridge.avro.decode import Decoder, Engine
from finkbridge.avro.schemas import WriterSchema

KEPT_SCHEMAS = 16
"""Writer schemas whose tools are kept: a cluster's topics have a handful, and each takes some MB."""


class Tools:
    """The checker and the decoder of each writer schema that was met lately; several threads may use it."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine = engine
        self._made: dict[str, tuple[Checker, Decoder]] = {}
        self._lock = Lock()

    def of(self, schema: WriterSchema) -> tuple[Checker, Decoder]:
        """Return the tools of a schema.

        Raises
        ------
        SchemaError
            No message of the schema can be checked or decoded.
        """
        with self._lock:
            made = self._made.pop(schema.fingerprint, None) or self._make(schema)
            return self._keep(schema, made)

    def careful(self, schema: WriterSchema) -> Decoder:
        """Return the decoder that is slow and sure, and give it out from now on."""
        checker, _ = self.of(schema)
        decoder = Decoder(schema, "fastavro")
        with self._lock:
            self._keep(schema, (checker, decoder))
        return decoder

    def _make(self, schema: WriterSchema) -> tuple[Checker, Decoder]:
        decoder = Decoder(schema, self._engine)
        return Checker(schema, careful=not decoder.bulk), decoder

    def _keep(self, schema: WriterSchema, made: tuple[Checker, Decoder]) -> tuple[Checker, Decoder]:
        self._made[schema.fingerprint] = made
        while len(self._made) > KEPT_SCHEMAS:
            del self._made[next(iter(self._made))]
        return made
