"""What else lies in real checkpoints: values that are not part of a network, wrapped names, several networks."""

from __future__ import annotations

import collections
import datetime
import pathlib
import pickle
import random
import sys
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from code_watch import watching
from source_nvidia import NvidiaDiscriminator, NvidiaGenerator, dump
from source_rosinality import RosinalityDiscriminator, RosinalityGenerator, training_file

from padinv.checkpoints import describe, load_discriminator, load_generator
from padinv.checkpoints.convert import read_generator
from padinv.runtime.errors import InputError

CHANNELS = (6, 5)


def generator(seed: int = 0) -> RosinalityGenerator:
    return RosinalityGenerator(CHANNELS, 5, 1, seed=seed)


def project_object() -> Any:
    """An object of a project's own class, which is not installed where the file is read."""
    module = types.ModuleType("some_project.options")
    options = type("Options", (), {"__module__": module.__name__, "__init__": lambda self: vars(self).update(lr=0.1)})
    options.__qualname__ = "Options"
    module.Options = options  # type: ignore[attr-defined]
    sys.modules.update({"some_project": types.ModuleType("some_project"), module.__name__: module})
    return options()


ODDITIES: dict[str, Any] = {
    "NumPy's random state": lambda: {"numpy": np.random.RandomState(0).get_state(), "python": random.getstate()},
    "NumPy's new generator": lambda: np.random.default_rng(0),
    "uint32 array": lambda: np.arange(5, dtype=np.uint32),
    "array of texts": lambda: np.array(["a", "bc"]),
    "array of dates": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "big-endian array": lambda: np.arange(3, dtype=">f4"),
    "NumPy's texts": lambda: np.str_("a"),
    "paths": lambda: {"out": pathlib.PurePosixPath("/a/b"), "in": pathlib.PosixPath("c")},
    "dates": lambda: [datetime.datetime(2020, 1, 2, 3), datetime.timedelta(1), datetime.timezone.utc],
    "identity": lambda: uuid.UUID(int=5),
    "queue": lambda: collections.deque([1, 2], maxlen=3),
    "slice": lambda: slice(1, 2),
    "complex numbers": lambda: 1j,
    "torch's random state": torch.get_rng_state,
    "complex tensor": lambda: torch.zeros(3, dtype=torch.complex64),
    "uint32 tensor": lambda: torch.zeros(3, dtype=torch.uint32),
    "float8 tensor": lambda: torch.zeros(3).to(torch.float8_e4m3fn),
    "sparse tensor": lambda: torch.eye(3).to_sparse(),
    "tuple keys": lambda: {(1, 2): "a", ("x", None): "b"},
    "a project's own options": project_object,
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ODDITIES)
def test_values_that_are_not_part_of_a_network_do_not_matter(tmp_path: Path, name: str, old: bool) -> None:
    g = generator()
    value = {"g_ema": g.state_dict(), "extra": ODDITIES[name](), "latent_avg": torch.zeros(5)}
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    for module in [m for m in sys.modules if m.startswith("some_project")]:
        del sys.modules[module]
    with watching() as events:
        loaded = load_generator(tmp_path / "x.pt")
    assert not events
    assert loaded.spec.resolution == 8
    assert describe(tmp_path / "x.pt")["truncation_centre"] == "in the file"
    assert not any(m.startswith("some_project") for m in sys.modules)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.zeros(5, 5, dtype=torch.complex64), "numbers of type complex64 in style.1.weight"),
        (np.zeros((5, 5), dtype=">f4"), "an array of type >f4 where the tensor style.1.weight belongs"),
        (np.zeros((5, 5), dtype="U2"), "an array of type U2 where the tensor style.1.weight"),
    ],
)
def test_where_a_weight_belongs_they_are_refused_by_name(tmp_path: Path, value: Any, sentence: str) -> None:
    torch.save({"g_ema": {**generator().state_dict(), "style.1.weight": value}}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=sentence):
        load_generator(tmp_path / "x.pt")


def renamed(state: dict[str, Any], change: Any) -> dict[str, Any]:
    return {change(name): value for name, value in state.items()}


WRAPPED = {
    "compiled within": lambda n: n.replace("synthesis.", "synthesis._orig_mod.").replace("mapping.", "mapping.module."),
    "data-parallel around compiled": lambda n: f"module._orig_mod.{n}",
    "compiled around data-parallel within": lambda n: n.replace("synthesis.", "synthesis._orig_mod.module."),
    "sharded": lambda n: n.replace("synthesis.b8.", "synthesis._fsdp_wrapped_module.b8."),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_within_names_are_seen_through(tmp_path: Path, name: str) -> None:
    source = NvidiaGenerator(CHANNELS, 5, 5, 1)
    dump(tmp_path / "plain.pkl", {"G_ema": source.pickled()})
    state = read_generator(tmp_path / "plain.pkl").state
    torch.save({"G_ema": renamed(source.state_dict(), WRAPPED[name])}, tmp_path / "x.pt")
    wrapped = read_generator(tmp_path / "x.pt").state
    assert wrapped.keys() == state.keys()
    assert all(torch.equal(wrapped[key], state[key]) for key in state)


@pytest.mark.parametrize(
    "place",
    [
        lambda state, centre: {"g_ema": state, "latent_avg": centre},
        lambda state, centre: {"g_ema": state, "stats": {"latent_avg": centre}},
        lambda state, centre: {"model": {"g_ema": state, "latent_avg": centre}},
        lambda state, centre: {"state_dict": {**renamed(state, "decoder.{}".format), "latent_avg": centre}},
        lambda state, centre: {"state_dict": {**renamed(state, "decoder.{}".format), "decoder.latent_avg": centre}},
        lambda state, centre: {"state_dict": {**state, "mean_latent": centre}},
        lambda state, centre: [{"g": state}, {"latent_avg": centre}],
    ],
)
def test_the_truncation_centre_is_found_one_level_up_or_down(tmp_path: Path, place: Any) -> None:
    centre = torch.arange(5.0)
    torch.save(place(generator().state_dict(), centre), tmp_path / "x.pt")
    foreign = read_generator(tmp_path / "x.pt")
    assert torch.equal(foreign.state["w_avg"], centre)
    assert foreign.record["truncation_centre"] == "from the file"


def test_the_nearest_truncation_centre_is_taken(tmp_path: Path) -> None:
    parts = {
        "old": {"g": generator(1).state_dict(), "latent_avg": torch.zeros(5)},
        "new": {"g_ema": generator(2).state_dict(), "latent_avg": torch.ones(5)},
    }
    torch.save(parts, tmp_path / "x.pt")
    assert torch.equal(read_generator(tmp_path / "x.pt").state["w_avg"], torch.ones(5))


def test_networks_in_lists_and_tuples_are_found(tmp_path: Path) -> None:
    """NVIDIA's old order: generator, discriminator, averaged generator."""
    g, averaged = NvidiaGenerator(CHANNELS, 5, 5, 1, seed=1), NvidiaGenerator(CHANNELS, 5, 5, 1, seed=2)
    critic = NvidiaDiscriminator(CHANNELS)
    (tmp_path / "named.pkl").write_bytes(b"")
    dump(tmp_path / "named.pkl", {"G_ema": averaged.pickled()})
    dump(tmp_path / "tuple.pkl", (g.pickled(), critic.pickled(), averaged.pickled()))
    named, listed = read_generator(tmp_path / "named.pkl"), read_generator(tmp_path / "tuple.pkl")
    assert all(torch.equal(listed.state[key], named.state[key]) for key in named.state)
    assert listed.record["network"] == "2"
    assert load_discriminator(tmp_path / "tuple.pkl") is not None
    torch.save({"models": [generator(1).state_dict(), generator(2).state_dict()]}, tmp_path / "list.pt")
    assert read_generator(tmp_path / "list.pt").record["network"] == "models.1"


@pytest.mark.parametrize("name", ["g_ema", "generator_smooth", "Gs", "G_avg", "ema.generator", "shadow", "netG_EMA"])
def test_the_averaged_network_is_preferred_and_the_others_are_named(tmp_path: Path, name: str) -> None:
    value: dict[str, Any] = {"generator": generator(1).state_dict()}
    inner = value
    *outer, last = name.split(".")
    for part in outer:
        inner = inner.setdefault(part, {})
    inner[last] = generator(2).state_dict()
    torch.save(value, tmp_path / "x.pt")
    foreign = read_generator(tmp_path / "x.pt")
    assert foreign.record["network"] == name
    assert torch.equal(foreign.state["mapping_network.layers.0.bias"], generator(2).state_dict()["style.1.bias"])
    assert any("another generator (generator), whose weights are not averaged" in n for n in foreign.record["notes"])


def test_what_else_lies_in_a_file_is_said(tmp_path: Path) -> None:
    value = training_file(generator(), RosinalityDiscriminator(CHANNELS))
    value["classifier"] = {f"layers.{i}.weight": torch.zeros(2) for i in range(5)}
    torch.save(value, tmp_path / "x.pt")
    notes = " ".join(describe(tmp_path / "x.pt")["notes"])
    assert "the file also holds another generator (g), whose weights are not averaged" in notes
    assert "tensors that padinv does not know (classifier)" in notes


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (torch.zeros(3, 18, 512), r"holds a tensor of \[3, 18, 512\] and no network: latent codes"),
        (torch.zeros(1, 512), r"holds a tensor of \[1, 512\] and no network: latent codes, or a direction"),
        ({"a.jpg": torch.zeros(18, 512)}, r"holds tensors of \[18, 512\] and no network"),
        ([torch.zeros(512)], "latent codes, or a direction, of another program"),
        ({f"lin{i}.model.1.weight": torch.zeros(1, 4, 1, 1) for i in range(5)}, "holds the linear heads of LPIPS"),
    ],
)
def test_latents_and_other_networks_are_named(tmp_path: Path, value: Any, sentence: str) -> None:
    torch.save(value, tmp_path / "latents.pt")
    with pytest.raises(InputError, match=sentence):
        load_generator(tmp_path / "latents.pt")


def test_arrays_of_numpy_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.zeros((1, 18, 512)))
    np.savez(tmp_path / "w.npz", w=np.zeros((1, 18, 512)))
    for name, what in (("w.npy", r"a NumPy array \(\.npy\)"), ("w.npz", r"an archive of NumPy arrays \(\.npz\)")):
        with pytest.raises(InputError, match=what):
            load_generator(tmp_path / name)


def test_python_would_have_needed_the_project(tmp_path: Path) -> None:
    """The test above is a real one: Python itself cannot read such a file."""
    data = pickle.dumps({"options": project_object()})
    for module in [m for m in sys.modules if m.startswith("some_project")]:
        del sys.modules[module]
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(data)
