"""What pictures say about how they were made: written into PNG, JPEG and WebP, and read back from anything."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from signing_certificate import NAME, write_certificate

from padinv.runtime.batch.ownership import Origin, image_bytes, origin_of, seal
from padinv.runtime.errors import MissingPackageError, UsageError
from padinv.runtime.provenance.command_text import Command, names_only
from padinv.runtime.provenance.containers import has_c2pa, with_xmp, without_c2pa, xmp_of
from padinv.runtime.provenance.marking import Marking
from padinv.runtime.provenance.record import COMPOSITE, GENERATED, provenance_of, source_type_of
from padinv.runtime.provenance.signing import Signer, read_manifest

KINDS = ("png", "jpg", "webp")
ORIGIN = Origin.of("owner", "result")
MARKING = Marking(model="tiny", model_hash="ab" * 32, command=Command("edit", ("smile=0.8",), (("--fit", "pad"),)))


def plain(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    return image_bytes(pixels, kind, ORIGIN)


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_says_how_it_was_made_and_keeps_its_pixels_and_its_origin(kind: str) -> None:
    data = plain(kind)
    marked = seal(MARKING.mark(data, ("me.jpg",)))
    assert marked == seal(MARKING.mark(data, ("me.jpg",)))  # no time, nothing random
    assert (pixels_of(marked) == pixels_of(data)).all()
    found = provenance_of(marked)
    assert found is not None
    assert found.command == "padinv edit smile=0.8 me.jpg --fit pad"
    assert (found.model, found.model_hash, found.source_type) == ("tiny", "ab" * 32, COMPOSITE)
    assert origin_of(marked) == ORIGIN
    assert provenance_of(data) is None
    assert source_type_of(MARKING.mark(data, generated=True)) == GENERATED


@pytest.mark.parametrize("kind", KINDS)
def test_pillow_finds_the_packet_too(kind: str) -> None:
    with Image.open(BytesIO(MARKING.mark(plain(kind)))) as image:
        packet = image.info["xmp" if kind != "png" else "XML:com.adobe.xmp"]
        image.load()
    text = packet if isinstance(packet, str) else packet.decode()
    assert f"<Iptc4xmpExt:DigitalSourceType>{COMPOSITE}</Iptc4xmpExt:DigitalSourceType>" in text


@pytest.mark.parametrize("settings", [{"lossless": True}, {"quality": 50}])
def test_a_webp_without_an_extended_header_gets_one(settings: dict[str, int]) -> None:
    out = BytesIO()
    Image.new("RGB", (7, 300), (200, 30, 60)).save(out, "WEBP", **settings)
    assert out.getvalue()[12:16] in (b"VP8 ", b"VP8L")
    marked = MARKING.mark(out.getvalue())
    assert Image.open(BytesIO(marked)).size == (7, 300)
    assert (pixels_of(marked) == pixels_of(out.getvalue())).all()
    assert provenance_of(marked) is not None


def test_other_files_stay_as_they_are() -> None:
    for data in (b"", b"text", b"\x08\0\0\0\0\0\0\0{}      ", b"RIFF\0\0\0\0AVI "):
        assert with_xmp(data, b"x") == data


def test_a_command_that_could_break_xml_or_a_terminal_is_text() -> None:
    odd = Marking(model="a<b>&\"'", model_hash="", command="x")
    command = Command("edit", ("</padinv:Command><script>&amp;]]>\x1b[2J\udc80\n",))
    marked = odd.with_command(command).mark(plain("png"))
    assert provenance_of(marked) is None  # a value is missing, so the record is not whole
    marked = Marking(model="a<b>&\"'", model_hash="1", command=command).mark(plain("png"))
    found = provenance_of(marked)
    assert found is not None
    assert found.model == "a<b>&\"'"
    assert found.command == "padinv edit 'padinv:Command><script>&amp;]]>?[2J??'"


def test_a_very_long_command_still_fits_into_a_jpeg() -> None:
    marked = MARKING.mark(plain("jpg"), ("<" * 100_000,))
    found = provenance_of(marked)
    assert found is not None
    assert len(found.command) == 4000
    with pytest.raises(ValueError, match="does not fit"):
        with_xmp(plain("jpg"), b"x" * 70_000)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("me.jpg", "me.jpg"),
        ("/home/alice/photos/me.jpg", "me.jpg"),
        ("photos/", "photos"),
        ("../../secret/me.jpg", "me.jpg"),
        ("C:\\Users\\alice\\me.jpg", "me.jpg"),
        ("smile=0.8,/home/alice/hat.safetensors=0.5", "smile=0.8,hat.safetensors=0.5"),
        ("--model=/srv/models/mine", "--model=mine"),
        ("hf:alice/model@v1", "hf:alice/model@v1"),
        ("-1:1:5", "-1:1:5"),
        ("4,8", "4,8"),
        ("", ""),
        (".", "."),
        ("/", "/"),
    ],
)
def test_paths_are_reduced_to_names(word: str, wanted: str) -> None:
    assert names_only(word) == wanted


def test_the_home_folder_is_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    for word in (str(tmp_path / "alice"), f"{tmp_path}/alice/", "~"):
        assert names_only(word) == "~"


def test_the_order_of_options_does_not_matter() -> None:
    one = Command("invert", options=(("--fit", "pad"), ("--align", "never")))
    other = Command("invert", options=(("--align", "never"), ("--fit", "pad")))
    assert one.text(["a b.jpg"]) == other.text(["a b.jpg"]) == "padinv invert 'a b.jpg' --align never --fit pad"


def _with_packet(text: bytes, *, packed: bool = False) -> bytes:
    """A PNG whose XMP is this text."""
    if not packed:
        return with_xmp(plain("png"), text)
    body = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    data = plain("png")
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk + data[at:]


def test_packets_of_others_are_read_in_both_of_their_forms() -> None:
    start = '<x xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    attribute = f'{start}<rdf:Description i:DigitalSourceType="{GENERATED}"/></x>'.encode()
    element = f"{start}<rdf:Description><i:DigitalSourceType> {GENERATED}\n</i:DigitalSourceType></rdf:Description></x>"
    assert source_type_of(_with_packet(attribute)) == GENERATED
    assert source_type_of(_with_packet(element.encode(), packed=True)) == GENERATED
    assert provenance_of(_with_packet(attribute)) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff\xfe<\0x\0/\0>\0",
        b"<x",
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><x>&a;</x>',
        b"<x>" * 5000,
    ],
)
def test_packets_that_cannot_be_read_say_nothing(packet: bytes) -> None:
    assert source_type_of(_with_packet(packet)) is None


def test_a_packet_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    assert xmp_of(_with_packet(b"<x>" + bytes(50_000_000), packed=True)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_never_raise(kind: str) -> None:
    data = seal(MARKING.mark(plain(kind)))
    rng = np.random.default_rng(1)
    for _ in range(300):
        bad = bytearray(data[: rng.integers(1, len(data) + 1)])
        for at in rng.integers(0, len(bad), 4):
            bad[at] = rng.integers(0, 256)
        provenance_of(bytes(bad))
        without_c2pa(bytes(bad))
        origin_of(bytes(bad))


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    pytest.importorskip("c2pa", reason="the extra 'c2pa' is not installed")
    return Signer.open(*write_certificate(tmp_path_factory.mktemp("certificate")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_picture_is_valid_until_it_is_changed(signer: Signer, kind: str) -> None:
    marking = Marking(model="tiny", model_hash="ab", command="padinv edit", signer=signer)
    sealed = seal(marking.mark(plain(kind)))
    signed = marking.sign(sealed)
    assert has_c2pa(signed)
    assert not has_c2pa(sealed)
    about = read_manifest(signed)
    assert about is not None
    assert about["state"] == "Valid"
    assert about["problems"] == ["signingCredential.untrusted"]  # nobody but this test knows the root
    assert about["signer"] == NAME
    assert about["tool"].startswith("padinv ")
    assert (pixels_of(signed) == pixels_of(sealed)).all()
    assert without_c2pa(signed) == sealed
    assert origin_of(signed) == ORIGIN  # still provably ours
    assert provenance_of(signed) is not None
    assert COMPOSITE.encode() in signed
    changed = bytearray(signed)
    changed[signed.index(b"AISystemUsed")] ^= 1
    about = read_manifest(bytes(changed))
    assert about is not None
    assert about["state"] == "Invalid"


def test_files_that_cannot_sign_are_refused_before_any_work(signer: Signer, tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("not a certificate")
    (tmp_path / "other").mkdir()
    _, other_key = write_certificate(tmp_path / "other")
    for certificate, key, sentence in (
        (tmp_path / "missing.pem", signer.key, "cannot be read"),
        (tmp_path / "text.pem", signer.key, "not a certificate in PEM form"),
        (signer.certificate, tmp_path / "text.pem", "cannot sign"),
    ):
        with pytest.raises(UsageError, match=sentence):
            Signer.open(certificate, key)
    assert signer.fingerprint() == Signer(signer.certificate, other_key).fingerprint()


def test_without_the_package_a_signature_is_refused_and_a_manifest_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = plain("png")
    at = data.index(b"IDAT") - 4
    body = b"manifest"
    data = data[:at] + struct.pack(">I", len(body)) + b"caBX" + body + bytes(4) + data[at:]
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(MissingPackageError, match=r"padinv\[c2pa\]"):
        Signer.open(tmp_path / "a", tmp_path / "b")
    about = read_manifest(data)
    assert about is not None
    assert about["state"] == "unread"
