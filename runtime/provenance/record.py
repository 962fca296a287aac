"""What a picture says about how it was made, as an XMP packet.

The digital source type is the IPTC's (https://cv.iptc.org/newscodes/digitalsourcetype/): `compositeWithTrained
AlgorithmicMedia` for edits and reconstructions of photographs, `trainedAlgorithmicMedia` for pictures that the
generator made without one. There is no time in it: the same command on the same picture gives the same bytes.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from padinv.runtime.provenance.containers import xmp_of
from padinv.runtime.text import printable

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
GENERATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
MAX_TEXT = 4000  # characters of one value
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_OWN = "urn:padinv:provenance:"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{rdf}">
  <rdf:Description rdf:about="" xmlns:xmp="{xmp}" xmlns:Iptc4xmpExt="{iptc}" xmlns:padinv="{own}">
{properties}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def padinv_version() -> str:
    """The version of the package; it is imported before any of its modules."""
    return str(getattr(sys.modules.get("padinv"), "__version__", "unknown"))


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How a picture was made.

    Attributes:
        source_type: URI of the IPTC's digital source type.
        command: with the names of files only, never with the folders that they lie in.
        model: name of the model bundle. model_hash: SHA-256 of its generator's weights.
        version: of padinv.
    """

    source_type: str
    command: str
    model: str
    model_hash: str
    version: str = field(default_factory=padinv_version)

    def xmp(self) -> bytes:
        """An XMP packet in UTF-8."""
        properties = {
            "Iptc4xmpExt:DigitalSourceType": self.source_type,
            "Iptc4xmpExt:AISystemUsed": f"padinv, model {self.model}",
            "Iptc4xmpExt:AISystemVersionUsed": self.version,
            "xmp:CreatorTool": f"padinv {self.version}",
            **{f"padinv:{_name(key)}": value for key, value in asdict(self).items() if key != "source_type"},
        }
        lines = (f"   <{name}>{escape(printable(value)[:MAX_TEXT])}</{name}>" for name, value in properties.items())
        text = _PACKET.format(rdf=_RDF, xmp=_XMP, iptc=_IPTC, own=_OWN, properties="\n".join(lines))
        return text.encode()

    def to_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return asdict(self)


def _name(key: str) -> str:
    """model_hash -> ModelHash."""
    return "".join(part.capitalize() for part in key.split("_"))


def provenance_of(data: bytes) -> Provenance | None:
    """What a picture file of padinv says about itself; None for any other file."""
    found = xmp_properties(data)
    values = {key: found.get((_OWN, _name(key))) for key in ("command", "model", "model_hash", "version")}
    source_type = found.get((_IPTC, "DigitalSourceType"))
    if source_type is None or any(value is None for value in values.values()):
        return None
    return Provenance(source_type=source_type, **{key: str(value) for key, value in values.items()})


def source_type_of(data: bytes) -> str | None:
    """The digital source type that a picture names, whoever made it."""
    return xmp_properties(data).get((_IPTC, "DigitalSourceType"))


def xmp_properties(data: bytes) -> dict[tuple[str, str], str]:
    """(namespace, name) -> text, of the simple properties in a picture's XMP; empty where it cannot be read."""
    packet = xmp_of(data)
    if packet is None:
        return {}
    try:
        text = packet.decode().strip().strip("\0")
        if "<!" in text:  # entities can make a few bytes huge, and XMP needs none
            return {}
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError):
        return {}
    found: dict[tuple[str, str], str] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        entries: list[tuple[str, Any]] = [*description.attrib.items(), *((one.tag, one.text) for one in description)]
        for tag, value in entries:
            namespace, _, name = tag[1:].partition("}")
            if tag.startswith("{") and namespace != _RDF and value and value.strip():
                found.setdefault((namespace, name), value.strip()[:MAX_TEXT])
    return found
