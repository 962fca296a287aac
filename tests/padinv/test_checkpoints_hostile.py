"""Files that attack: code in pickles, structures that explode, tensors that lie. One sentence each; nothing runs."""

from __future__ import annotations

import pickle
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from code_watch import watching
from source_nvidia import CALLS, Module, NvidiaGenerator, dump
from source_rosinality import RosinalityGenerator

from padinv.checkpoints import load_generator
from padinv.checkpoints.container import lazy_tensors
from padinv.checkpoints.convert import import_generator
from padinv.runtime.errors import InputError

MARK = Path("/tmp/padinv-must-not-exist")


@pytest.fixture(autouse=True)
def seen() -> Iterator[list[str]]:
    """No test of this file may start a process, or let Python's own unpickler look up a name."""
    with watching() as events:
        yield events
        assert not events
    assert not MARK.exists()
    assert not CALLS


def test_the_watch_itself_works(seen: list[str]) -> None:
    import os

    os.system("true")
    assert seen == ["os.system"]
    seen.clear()


def refused(path: Path, data: bytes, match: str) -> None:
    """The sentence, and little memory for it."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=match) as error:
            load_generator(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert peak < 64 << 20


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


COMMAND = short(f"touch {MARK}")
CODE = {
    "global": b"\x80\x02cos\nsystem\n" + b"X\x04\x00\x00\x00true\x85R.",
    "posix": b"\x80\x02cposix\nsystem\n" + b"X\x04\x00\x00\x00true\x85R.",
    "stack global": b"\x80\x04" + short("os") + short("system") + b"\x93" + COMMAND + b"\x85R.",
    "builtins": b"\x80\x04" + short("builtins") + short("eval") + b"\x93" + short("1") + b"\x85R.",
    "getattr": b"\x80\x04" + short("builtins") + short("getattr") + b"\x93.",
    "inst": b"\x80\x02(" + b"S'true'\nios\nsystem\n.",
    "obj": b"\x80\x02(cos\nsystem\nS'true'\no.",
    "newobj": b"\x80\x02csubprocess\nPopen\n(K\x01t\x81.",
    "torch": b"\x80\x02ctorch.hub\nload\n)R.",
    "dotted": b"\x80\x04" + short("torch") + short("_utils.os.system") + b"\x93.",
    "in a dictionary": b"\x80\x04}(" + short("g_ema") + short("os") + short("system") + b"\x93" + COMMAND + b"\x85Ru.",
}


@pytest.mark.parametrize("name", CODE)
def test_code_in_a_pickle_is_refused_by_name(tmp_path: Path, name: str) -> None:
    refused(
        tmp_path / "x.pkl",
        CODE[name],
        r"asks for (os|posix|builtins|subprocess|torch)\.\S+, which.*nothing of it was run",
    )


@pytest.mark.parametrize("old", [False, True])
def test_code_in_a_torch_file_is_refused(tmp_path: Path, old: bool) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            import os

            return os.system, (f"touch {MARK}",)

    value = {"g_ema": RosinalityGenerator((6, 5), 5, 1).state_dict(), "args": Attack()}
    torch.save(value, tmp_path / "y.pt", _use_new_zipfile_serialization=not old)
    refused(tmp_path / "x.pt", (tmp_path / "y.pt").read_bytes(), r"asks for (posix|nt)\.system")


def test_whole_objects_need_weights_only_false_and_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "y.pt")
    refused(
        tmp_path / "x.pt", (tmp_path / "y.pt").read_bytes(), r"asks for torch\.nn\.modules\.linear\.Linear.*state_dict"
    )


@pytest.mark.parametrize("code", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extension_codes_are_refused(tmp_path: Path, code: bytes) -> None:
    refused(tmp_path / "x.pkl", b"\x80\x02" + code + b".", "uses the pickle operation EXT")


def test_tensorflow_networks_are_recognised(tmp_path: Path) -> None:
    refused(tmp_path / "x.pkl", b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81.", "TensorFlow StyleGAN.*legacy.py")


# -- structures that explode


def billion_laughs(kind: str) -> bytes:
    """Thirty levels of ten references each."""
    out = b"\x80\x04" + {"list": b"]\x94", "tuple": b")\x94", "dictionary": b"}\x94"}[kind]
    for level in range(30):
        recall = b"h" + bytes([level])
        if kind == "dictionary":
            out += b"}(" + b"".join(short(f"k{i}") + recall for i in range(10)) + b"u\x94"
        else:
            out += b"(" + recall * 10 + (b"l" if kind == "list" else b"t") + b"\x94"
    return out + b"."


@pytest.mark.parametrize("kind", ["list", "tuple", "dictionary"])
def test_billion_laughs(tmp_path: Path, kind: str) -> None:
    refused(tmp_path / "x.pkl", billion_laughs(kind), r"holds no network|does not end|no checkpoint")


def test_billion_laughs_of_modules(tmp_path: Path) -> None:
    leaf: Any = Module("FullyConnectedLayer")
    for _ in range(30):
        parent = Module("Sequential")
        for i in range(10):
            parent.modules[f"m{i}"] = leaf
        leaf = parent
    dump(tmp_path / "y.pkl", {"G_ema": leaf})
    refused(tmp_path / "x.pkl", (tmp_path / "y.pkl").read_bytes(), "nested in a way that no checkpoint is")


def test_attributes_that_all_modules_share(tmp_path: Path) -> None:
    """A thousand modules with one dictionary of a thousand attributes: small in the file, a million entries outside."""
    shared = {f"a{i}": i for i in range(1000)}

    class Leaf(Module):
        def __reduce__(self) -> Any:
            function, (meta,) = super().__reduce__()
            return function, ({**meta, "state": shared},)

    top = Module("Top")
    for i in range(1000):
        top.modules[f"m{i}"] = Leaf("Layer")
    dump(tmp_path / "y.pkl", {"G_ema": top})
    refused(tmp_path / "x.pkl", (tmp_path / "y.pkl").read_bytes(), "nested in a way")


def test_names_out_of_a_file_are_quoted_tamely(tmp_path: Path) -> None:
    name = "evil\n\x1b[2J" + "x" * 900
    path = edited(tmp_path, put(name, torch.zeros(3)))
    with pytest.raises(InputError) as error:
        load_generator(path)
    text = str(error.value)
    assert "evil??[2Jxxx" in text
    assert len(text) < 700


def test_a_state_dict_of_a_thousand_networks(tmp_path: Path) -> None:
    anchors = ("conv1.conv.weight", "to_rgb1.conv.weight", "input.input")
    state = {f"net{i}.{name}": torch.zeros(1) for i in range(100) for name in anchors}
    torch.save(state, tmp_path / "y.pt")
    refused(tmp_path / "x.pt", (tmp_path / "y.pt").read_bytes(), "more networks than any checkpoint")


def test_keys_whose_hash_takes_for_ever(tmp_path: Path) -> None:
    nested = b"\x80\x04)\x94" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(60))
    refused(tmp_path / "x.pkl", nested + b"}h\x3cK\x01s.", "as a key that is neither")
    refused(tmp_path / "x.pkl", nested + b"\x8f(h\x3c\x90.", "as a key that is neither")
    refused(tmp_path / "x.pkl", nested + b"(h\x3c\x91.", "as a key that is neither")


BOMBS = {
    "memo index": (b"\x80\x02Nr\xff\xff\xff\x7f.", "holds no network"),
    "text": (b"\x80\x02X\xff\xff\xff\x7f.", "text of unbelievable length"),
    "text of 2^60": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b".", "text of unbelievable length"),
    "bytes": (b"\x80\x04B\xff\xff\xff\xff.", "cut short"),
    "bytes of 2^60": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".", "cut short"),
    "bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".", "cut short"),
    "number": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "number of unbelievable size"),
    "number of text": (b"\x80\x02L" + b"9" * 100_000 + b"L\n.", "damaged"),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.", "cut short"),
    "marks": (b"\x80\x02" + b"(" * 20_000 + b".", "does not end where it should"),
    "depth": (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "holds no network"),
    "encode": (
        b"\x80\x02X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x00c_codecs\nencode\nq\x01"
        + b"(" + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R" * 5000 + b"t.",
        "unpacks to far more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    data, sentence = BOMBS[name]
    refused(tmp_path / "x.pkl", data, sentence)


def test_endless_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_tensors, "MAX_STEPS", 10_000)
    refused(tmp_path / "x.pkl", b"\x80\x02" + b"N0" * 5_000 + b"N.", "more steps to read than any checkpoint")
    (tmp_path / "y.pkl").write_bytes(b"\x80\x02" + b"N0" * 4_000 + b"N.")
    with pytest.raises(InputError, match="holds no network"):
        load_generator(tmp_path / "y.pkl")


# -- tensors that lie


def lying(path: Path, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4) -> bytes:
    """A torch file with one honest storage of four numbers, and a tensor laid over it."""
    state = {f"t{i}": torch.arange(4.0) for i in range(8)}
    torch.save({"g_ema": state}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()

    def number(n: int) -> bytes:
        return b"K" + bytes([n]) if n < 256 else b"\x8a\x08" + n.to_bytes(8, "little", signed=True)

    honest = b"K\x00K\x04\x85q"
    at = data.index(honest)
    end = data.index(b"K\x01\x85q", at) + 5
    made = number(offset) if offset >= 0 else b"J" + offset.to_bytes(4, "little", signed=True)
    made += b"(" + b"".join(map(number, shape)) + b"t(" + b"".join(map(number, stride)) + b"t"
    return data[:at] + made + data[end:]


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "sentence"),
    [
        ((5,), (1,), 0, "beyond its own bytes"),
        ((4,), (1,), 1, "beyond its own bytes"),
        ((4,), (1,), -1, "shape makes no sense"),
        ((1 << 40,), (1,), 0, "beyond its own bytes"),
        ((1 << 20, 1 << 20), (0, 0), 0, "beyond its own bytes"),
        ((1 << 62,), (1,), 0, "shape makes no sense"),
        ((4, 1), (1,), 0, "do not fit each other"),
        ((1,) * 9, (1,) * 9, 0, "9 dimensions"),
    ],
)
def test_tensors_that_reach_elsewhere(
    tmp_path: Path, shape: tuple[int, ...], stride: tuple[int, ...], offset: int, sentence: str
) -> None:
    data = lying(tmp_path / "y.pt", shape, stride, offset)
    refused(tmp_path / "x.pt", data, sentence)


def edited(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A rosinality file whose state dict was changed."""
    state = RosinalityGenerator((6, 5, 4), 5, 2).state_dict()
    change(state)
    torch.save({"g_ema": state}, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def put(name: str, value: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda state: state.__setitem__(name, value)


DAMAGE: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "NaN": (lambda s: s["convs.1.conv.weight"].view(-1)[3:4].fill_(float("nan")), "not finite in layers.2.weight"),
    "infinite": (lambda s: s["style.2.bias"].fill_(float("inf")), "not finite in mapping_network"),
    "missing": (lambda s: s.pop("convs.3.activate.bias"), "lacks the tensor convs.3.activate.bias"),
    "shape": (put("convs.0.activate.bias", torch.zeros(7)), r"convs.0.activate.bias of shape \[7\] where \[5\]"),
    "kernel": (put("convs.0.conv.weight", torch.zeros(1, 5, 6, 5, 5)), "convs.0.conv.weight of shape"),
    "rank": (put("convs.1.conv.weight", torch.zeros(5)), "where a convolution's weight belongs"),
    "matrix": (put("style.1.weight", torch.zeros(5)), "no matrices"),
    "noise": (put("noises.noise_2", torch.zeros(1, 1, 4, 4)), r"noises.noise_2 of shape \[1, 1, 4, 4\]"),
    "extra": (put("convs.0.attention.weight", torch.zeros(3)), "variant.*convs.0.attention.weight"),
    "const": (put("input.input", torch.zeros(1, 6, 8, 8)), "starts at 8 x 8 px"),
    "grey": (lambda s: s.update({k: v[:, :1] for k, v in s.items() if k.endswith("rgb1.conv.weight") or
                                 (k.startswith("to_rgbs") and k.endswith("conv.weight"))}), "1 image channels"),
    "filter": (put("convs.0.conv.blur.kernel", torch.ones(4, 4) / 4), r"filter other than \[1, 3, 3, 1\]"),
    "gain": (lambda s: s["to_rgbs.0.upsample.kernel"].mul_(3), r"filter other than \[1, 3, 3, 1\]"),
    "mapping": (lambda s: [s.pop(k) for k in list(s) if k.startswith("style.")], "lacks the mapping network"),
    "output": (lambda s: [s.pop(k) for k in list(s) if k.startswith("to_rgbs.1.")], "lacks the tensor to_rgbs.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_to_a_generator_is_named(tmp_path: Path, name: str) -> None:
    change, sentence = DAMAGE[name]
    path = edited(tmp_path, change)
    with pytest.raises(InputError, match=sentence) as error:
        import_generator(path, tmp_path / "out.safetensors")
    assert str(path) in str(error.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_tied_weights_that_fill_the_memory_are_refused(tmp_path: Path) -> None:
    """Aliases of one storage: honest shapes, no room for them all."""
    g = RosinalityGenerator((6, 5), 5, 1)
    big = torch.zeros(1 << 18)
    state = {k: v for k, v in g.state_dict().items() if not k.startswith("style.")}
    state |= {f"style.{i}.weight": big[: 5 * 5].reshape(5, 5) for i in (1,)} | {"style.1.bias": big[:5]}
    torch.save({"g_ema": state}, tmp_path / "x.pt")
    assert load_generator(tmp_path / "x.pt").spec.w_dim == 5  # honest sharing is no offence
    wide = {k: v for k, v in g.state_dict().items() if not k.startswith("style.")}
    side = 512
    for i in range(1, 64):
        wide[f"style.{i}.weight"] = big[: side * side].reshape(side, side)
        wide[f"style.{i}.bias"] = big[:side]
    wide = {k: torch.zeros(v.shape[0], side) if "modulation.weight" in k else v for k, v in wide.items()}
    torch.save({"g_ema": wide}, tmp_path / "y.pt")
    with pytest.raises(InputError, match="many times"):
        load_generator(tmp_path / "y.pt")


def test_the_source_in_nvidias_files_is_not_run(tmp_path: Path) -> None:
    g = NvidiaGenerator((6, 5), 5, 5, 1)
    dump(tmp_path / "x.pkl", {"G_ema": g.pickled()})
    assert b"os.system" in (tmp_path / "x.pkl").read_bytes()
    assert load_generator(tmp_path / "x.pkl").spec.resolution == 8
    for module in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
        assert module not in sys.modules


def test_python_would_have_run_it(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> None:
    """The attack of this file is a real one: Python's own unpickler does look the name up."""
    import os

    calls: list[str] = []
    monkeypatch.setattr(os, "system", calls.append)
    pickle.loads(CODE["global"])
    assert calls == ["true"]
    assert "pickle.find_class" in seen
    seen.clear()
