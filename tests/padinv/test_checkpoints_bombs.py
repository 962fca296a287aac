"""Small files that ask for much: at most 64 MiB plus twice the file's size, ten seconds, one sentence."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bounded_read import Outcome, read_bounded
from safetensors.torch import save

MEGA = 1 << 20
SECONDS = 10.0


def header_file(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def native_header(**changes: Any) -> bytes:
    """A padinv file of a few hundred bytes whose header describes a large network."""
    spec = {"resolution": 1024, "channels": [16384] * 9, "z_dim": 16384, "w_dim": 16384, "mapping_layers": 64}
    header = {"format": 1, "kind": "model", "spec": spec, "config": {"architecture": "reference"}, **changes}
    header["discriminator"] = {"resolution": 1024, "channels": [16384] * 9}
    return header_file({"__metadata__": {"padinv": json.dumps(header)}})


def zip_of(pickled: bytes, **entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    return out.getvalue()


def zip64_record_that_lies() -> bytes:
    """A directory of 30 MB; the record that the locator points to says that it is empty."""
    record = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = record * (30 * MEGA // len(record))
    count = len(directory) // len(record)

    def end64(entries: int, size: int) -> bytes:
        return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, 56)

    lie, truth = end64(0, 0), end64(count, len(directory))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    return lie + directory + truth + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)


def many_records(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        for i in range(count):
            archive.writestr(f"archive/data/{i}", b"")
    return out.getvalue()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


PAIRS = b"(" + b"".join(number(i) + b"N\x86" for i in range(20_000)) + b"lq\x01"
BIG_DICT = b"}(" + b"".join(number(i) + b"N" for i in range(20_000)) + b"uq\x01"
ORDERED = b"ccollections\nOrderedDict\nq\x00"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\nq\x00ctorch\nFloatStorage\nq\x02"


def colliding_tuples(count: int) -> list[tuple[int, int]]:
    """Pairs of integers of equal hash: the second is solved for, given the first, as CPython hashes tuples."""
    p1, p2, p5, mask = 11400714785074694791, 14029467366897019727, 2870177450012600261, (1 << 64) - 1
    back1, back2 = pow(p1, -1, 1 << 64), pow(p2, -1, 1 << 64)

    def lane(acc: int, value: int) -> int:
        acc = (acc + value * p2) & mask
        return ((acc << 31 | acc >> 33) & mask) * p1 & mask

    goal = lane(lane(p5, 7), 7)
    turned = goal * back1 & mask
    wanted = (turned >> 31 | turned << 33) & mask  # what the sum must be before the rotation
    found = []
    first = 0
    while len(found) < count:
        first += 1
        second = (wanted - lane(p5, first)) * back2 & mask
        if second < (1 << 61) - 1:  # integers below the modulus are their own hashes
            found.append((first, second))
    assert len({hash(pair) for pair in found[:50]}) == 1
    return found


def nested_torch_file() -> bytes:
    """Five thousand references to one torch file of many steps, spelled out once within a pickle."""
    inner = io.BytesIO()
    torch.save({f"k{i}": None for i in range(3000)}, inner, _use_new_zipfile_serialization=False)
    data = inner.getvalue()
    call = b"h\x00h\x01\x85R0"
    return (
        b"\x80\x03ctorch.storage\n_load_from_bytes\nq\x00B" + struct.pack("<I", len(data)) + data + b"q\x01"
        + call * 5000 + b"N."
    )  # fmt: skip


def aliased_records() -> bytes:
    """Thousands of names for one record of 1 MB, each of which would be checked as a whole."""
    body = bytearray(zip_of(b"\x80\x02}.", **{"data/0": bytes(MEGA)}))
    end = body.rindex(b"PK\x05\x06")
    (start,) = struct.unpack_from("<L", body, end + 16)
    directory, entries = bytes(body[start:end]), []
    first, last = directory[: directory.rindex(b"PK\x01\x02")], directory[directory.rindex(b"PK\x01\x02") :]
    for i in range(4000):
        name = f"archive/data/{i}".encode()
        entry = bytearray(last[:46]) + name
        struct.pack_into("<H", entry, 28, len(name))
        entries.append(bytes(entry))
    whole = first + b"".join(entries)
    tail = bytearray(body[end:])
    struct.pack_into("<2H2L", tail, 8, len(entries) + 1, len(entries) + 1, len(whole), start)
    state = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00ctorch\nFloatStorage\nq\x02}("
    for i in range(4000):
        storage = b"(" + text("storage") + b"h\x02" + text(str(i)) + text("cpu") + number(4) + b"tQ"
        name = (
            f"convs.{i}.conv.blur.kernel" if i > 2 else ("conv1.conv.weight", "to_rgb1.conv.weight", "input.input")[i]
        )
        state += text(name) + b"h\x00(" + storage + b"K\x00" + number(4) + b"\x85" + number(1) + b"\x85\x89}tR"
    # Rewritten with the right pickle first: its length moves everything behind it.
    out = zip_of(state + b"u.", **{"data/0": bytes(MEGA)})
    shift = len(out) - len(body)
    moved = out[: start + shift]
    pickle_entry = out[start + shift :][: len(first)]
    fixed = b"".join(e[:42] + struct.pack("<L", struct.unpack_from("<L", e, 42)[0] + shift) + e[46:] for e in entries)
    struct.pack_into("<2H2L", tail, 8, len(entries) + 1, len(entries) + 1, len(pickle_entry + fixed), start + shift)
    return moved + pickle_entry + fixed + bytes(tail)


def torch_file_of_names(names: list[str]) -> bytes:
    """One small tensor under every one of these names."""
    storage = b"(" + text("storage") + b"h\x02" + text("0") + text("cpu") + number(16) + b"tQ"
    tensor = b"h\x00(" + storage + b"K\x00" + b"K\x04K\x04\x86" + b"K\x04K\x01\x86\x89}tR"
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000ctorch\nFloatStorage\nq\x020"
    body = b"".join(text(name) + b"h\x05" for name in names)
    return zip_of(head + tensor + b"q\x050}(" + body + b"u.", **{"data/0": bytes(64)})


BOMBS: dict[str, Callable[[], bytes]] = {
    # Constructors that copy what the file names again and again.
    "ordered dictionaries of one list": lambda: (
        b"\x80\x02" + ORDERED + PAIRS + b"(" + b"h\x00h\x01\x85R" * 2000 + b"t."
    ),
    "ordered dictionaries of one dictionary": lambda: (
        b"\x80\x02" + ORDERED + BIG_DICT + b"h\x00h\x01\x85R0" * 5000 + b"N."
    ),
    "sets of one list": lambda: (
        b"\x80\x02c__builtin__\nset\nq\x00(" + b"".join(number(i) for i in range(20_000)) + b"lq\x01("
        + b"h\x00h\x01\x85R" * 2000 + b"t."
    ),
    "states of one dictionary": lambda: (
        b"\x80\x02cargparse\nNamespace\nq\x00" + BIG_DICT + b"h\x00)R" + b"h\x01b" * 5000 + b"."
    ),
    "objects of one dictionary": lambda: (
        b"\x80\x02ccopyreg\n_reconstructor\nq\x02" + ORDERED + BIG_DICT + b"h\x02h\x00Nh\x01\x87R0" * 5000 + b"N."
    ),
    "arguments without end": lambda: (
        b"\x80\x02" + ORDERED + b"(" + b"N" * 100_000 + b"tq\x01" + b"h\x00h\x01R0" * 5000 + b"."
    ),
    "bytes of one text": lambda: (
        b"\x80\x02c_codecs\nencode\nq\x00" + text("a" * 500_000) + b"q\x01" + b"("
        + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 3000 + b"t."
    ),
    # Many small things.
    "empty dictionaries": lambda: b"\x80\x02(" + b"}" * 1_500_000 + b"t.",
    "empty sets": lambda: b"\x80\x04(" + b"\x8f" * 1_500_000 + b"t.",
    "marks": lambda: b"\x80\x02" + b"(" * 1_900_000 + b".",
    "memo": lambda: b"\x80\x04N" + b"\x94" * 1_900_000 + b".",
    "small dictionaries": lambda: b"\x80\x02Nq\x00(" + b"}NNs" * 400_000 + b"t.",
    "numbers": lambda: b"\x80\x02(" + b"G12345678" * 200_000 + b"t.",
    "long texts": lambda: b"\x80\x02" + (text("\N{PARTY POPPER}" + "a" * MEGA) + b"0") * 12 + b"N.",
    "pushed and popped": lambda: b"\x80\x02" + b"N0" * 1_900_000 + b"N.",
    # Tensors.
    "a shape of a million dimensions": lambda: (
        b"\x80\x02" + TENSOR + b"(" + b"M\xff\xff" * 300_000 + b"tq\x01" + b"h\x00(NK\x00h\x01h\x01tR."
    ),
    "an array of a million dimensions": lambda: (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01("
        + b"M\xff\xff" * 300_000 + b"tcnumpy\ndtype\nU\x02f4\x85R\x89U\x04aaaatb."
    ),
    "nested torch files": nested_torch_file,
    "tuple keys of one hash": lambda: pickle.dumps(dict.fromkeys(colliding_tuples(12_000)), protocol=4),
    "names of names": lambda: (
        b"\x80\x02" + text("a" * 1_000_000) + b"q\x00N" + b"0}q\x01("
        + b"".join(text(f"{i}") + b"}(h\x00}u" for i in range(3000)) + b"u."
    ),
    "records that are one": aliased_records,
    "long lines": lambda: b"\x80\x02(" + (b"V" + b"a" * 300 + b"\n") * 14_000 + b"t.",
    "names to look up": lambda: b"\x80\x02(" + b"cA\nb\n" * 900_000 + b"t.",
    "objects of a project": lambda: b"\x80\x02cA\nb\nq\x00(" + b"h\x00)R" * 480_000 + b"t.",
    "keys that are long tuples": lambda: (
        b"\x80\x02(" + text("a" * 190) * 60 + b"tq\x00(" + b"}h\x00Ns" * 300_000 + b"t."
    ),
    "keys that are bytes": lambda: (
        b"\x80\x04B" + struct.pack("<I", 4000) + b"a" * 4000 + b"\x94(" + b"}h\x00Ns" * 300_000 + b"t."
    ),
    "a class name that is a nested list": lambda: (
        b"\x80\x04(]\x94" + b"".join(b"(" + (b"h" + bytes([i])) * 10 + b"l\x94" for i in range(30))
        + b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(" + text("class_name") + b"h\x1e"
        + text("state") + b"}u\x85Rt."
    ),
    "one tensor under many names": lambda: torch_file_of_names(
        [f"x{i}" for i in range(300_000)] + ["conv1.conv.weight", "to_rgb1.conv.weight", "input.input"]
    ),
    "one filter under many names": lambda: torch_file_of_names(
        [f"x{i}.kernel" for i in range(200_000)] + ["conv1.conv.weight", "to_rgb1.conv.weight", "input.input"]
    ),
    "names of many parts": lambda: torch_file_of_names(["a." * 480 + str(i) for i in range(8000)]),
    # Indices.
    "zip64 record that lies": zip64_record_that_lies,
    "a zip of 60,000 records": lambda: many_records(60_000),
    "safetensors header of 40 MB": lambda: header_file(b"{" + b" " * (40 * MEGA) + b"}"),
    "safetensors header of lists": lambda: header_file(b'{"a":[' + b"[]," * (MEGA // 2) + b"[]]}"),
    "safetensors header of many tensors": lambda: header_file(
        {str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(30_000)}
    ),
    "safetensors that overlap": lambda: header_file(
        {f"t{i}": {"dtype": "F32", "shape": [MEGA // 4], "data_offsets": [0, MEGA]} for i in range(1000)}, bytes(MEGA)
    ),
    "native header of a large model": native_header,
    "native header of deep lists": lambda: header_file(
        {"__metadata__": {"padinv": "[" * 500_000}}
    ),
    "native header of a long number": lambda: header_file(
        {"__metadata__": {"padinv": '{"format":1,"kind":"generator","spec":{"resolution":' + "9" * 400 + "}}"}}
    ),
}  # fmt: skip
# What a reader has no reason to refuse: nothing but the header is read, or the file has no discriminator.
HARMLESS = {
    ("native header of a large model", "describe"),
    ("safetensors header of many tensors", "load_discriminator"),
}
READERS = ("load_generator", "describe", "load_encoder", "load_discriminator")


def check(path: Path, outcome: Outcome, name: str = "") -> None:
    size = path.stat().st_size
    assert outcome.growth <= 64 * MEGA + 2 * size, f"{name}: {outcome.growth / MEGA:.0f} MiB of {size / MEGA:.1f} MiB"
    assert outcome.seconds < SECONDS, f"{name}: {outcome.seconds:.1f} s"
    if outcome.error:
        kind, _, sentence = outcome.error.partition(": ")
        assert kind == "InputError", outcome.error
        assert str(path) in sentence
        assert "\n" not in sentence


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = {name: folder / f"bomb{index}.pt" for index, name in enumerate(BOMBS)}
    for name, make in BOMBS.items():
        paths[name].write_bytes(make())
    return paths


def check_all(reader: str, bombs: dict[str, Path]) -> None:
    outcomes = read_bounded(f"padinv.checkpoints:{reader}", list(bombs.values()))
    for name, path in bombs.items():
        check(path, outcomes[path], name)
        assert outcomes[path].error or (name, reader) in HARMLESS, f"{name} was read"


def test_a_small_file_cannot_ask_for_much(bombs: dict[str, Path]) -> None:
    check_all("load_generator", bombs)


@pytest.mark.parametrize("reader", READERS[1:])
def test_nor_can_a_small_header(bombs: dict[str, Path], reader: str) -> None:
    check_all(reader, {name: path for name, path in bombs.items() if "header" in name or "zip" in name})


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS[1:])
def test_nor_through_any_other_reader(bombs: dict[str, Path], reader: str) -> None:
    check_all(reader, bombs)


def test_the_bound_itself_can_fail(tmp_path: Path) -> None:
    """A reader without a budget fails this test's bound on the same file."""
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02(" + b"}" * 1_500_000 + b"t.")
    read = read_bounded("pathlib:Path.read_bytes", [path])[path]
    assert read.growth < 8 * MEGA
    plain = read_bounded("bounded_read:unpickle", [path])[path]
    assert plain.growth > (64 << 20) + 2 * path.stat().st_size


def test_an_honest_file_stays_within_the_bound(tmp_path: Path) -> None:
    from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, training_file

    g, d = RosinalityGenerator((48, 40, 32, 24), 64, 2), RosinalityDiscriminator((48, 40, 32, 24))
    for name, value in (("f32", training_file(g, d)), ("f16", {"g": {k: v.half() for k, v in g.state_dict().items()}})):
        torch.save(value, tmp_path / f"{name}.pt")
    (tmp_path / "s.safetensors").write_bytes(save(g.state_dict()))
    paths = sorted(tmp_path.iterdir())
    for path, outcome in read_bounded("padinv.checkpoints:load_generator", paths).items():
        assert not outcome.error
        check(path, outcome)
