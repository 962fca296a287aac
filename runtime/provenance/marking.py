"""Marking the pictures of a run: one object that says how, which every step and server carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from padinv.runtime.provenance.command_text import Command
from padinv.runtime.provenance.containers import with_xmp
from padinv.runtime.provenance.record import COMPOSITE, GENERATED, Provenance

if TYPE_CHECKING:
    from padinv.runtime.bundle import Bundle
    from padinv.runtime.provenance.signing import Signer


@dataclass(frozen=True, kw_only=True)
class Marking:
    """How the pictures of a run are marked.

    Attributes:
        model, model_hash: see `Provenance`.
        command: that is run; a text where it is not one of the command line.
        enabled: False leaves every file without a mark.
        signer: also signs the files with C2PA.
    """

    model: str
    model_hash: str
    command: Command | str
    enabled: bool = True
    signer: Signer | None = None

    @classmethod
    def of(
        cls, bundle: Bundle, command: Command | str, *, enabled: bool = True, signer: Signer | None = None
    ) -> Marking:
        """For the pictures of a model."""
        return cls(model=bundle.name, model_hash=bundle.generator_hash, command=command, enabled=enabled, signer=signer)

    def with_command(self, command: Command | str) -> Marking:
        """The same for another command."""
        return replace(self, command=command)

    def of_model(self, bundle: Bundle) -> Marking:
        """The same for another model."""
        return replace(self, model=bundle.name, model_hash=bundle.generator_hash)

    def conditions(self) -> dict[str, Any]:
        """What must agree for an earlier result to be kept; nothing where pictures are marked and not signed."""
        if not self.enabled:
            return {"provenance": False}
        return {} if self.signer is None else {"c2pa": self.signer.fingerprint()}

    def provenance(self, inputs: Sequence[str], *, generated: bool = False) -> Provenance:
        """What a picture says."""
        return Provenance(
            source_type=GENERATED if generated else COMPOSITE,
            command=self.command if isinstance(self.command, str) else self.command.text(inputs),
            model=self.model,
            model_hash=self.model_hash,
        )

    def mark(self, data: bytes, inputs: Sequence[str] = (), *, generated: bool = False) -> bytes:
        """An encoded PNG, JPEG or WebP file with its provenance; any other file as it is.

        Args:
            inputs: what the picture was made of, see `Command.text`.
            generated: no photograph is in it.
        """
        return with_xmp(data, self.provenance(inputs, generated=generated).xmp()) if self.enabled else data

    def sign(self, data: bytes, *, generated: bool = False) -> bytes:
        """A finished file with a C2PA manifest, where that was asked for. Nothing may change it afterwards."""
        if self.signer is None or not self.enabled:
            return data
        return self.signer.sign(data, GENERATED if generated else COMPOSITE)
