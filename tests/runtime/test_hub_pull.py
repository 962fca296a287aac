"""Models of a hub: by name, pinned, resumed, and refused where anything is not as announced."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, HubServer, files_of, serving, sha256

import padinv
from padinv.runtime.bundle import read_bundle, write_manifest
from padinv.runtime.errors import HubError, MissingPackageError, OutputError, UsageError
from padinv.runtime.hub import network, rules
from padinv.runtime.hub.address import HubAddress, parse_address
from padinv.runtime.hub.cache import RepositoryCache
from padinv.runtime.model_names import find_model

NAME = "someone/tiny"


@pytest.fixture
def files(tiny_bundle: Path) -> dict[str, bytes]:
    """A bundle of about 60 kB, with a card that is stored without LFS."""
    (tiny_bundle / "MODEL_CARD.md").write_text("---\nlicense: mit\n---\n# tiny\n" + "words\n" * 200)
    rewrite(tiny_bundle)
    return {
        **files_of(tiny_bundle),
        "README.md": b"# not part of the bundle\n",
        "train.py": b"print('never fetched')\n",
    }


def rewrite(bundle: Path) -> None:
    kept = {key: value for key, value in read_bundle(bundle).manifest.items() if key not in ("files", "format")}
    write_manifest(bundle, kept)


def cached_files(tmp_path: Path) -> list[str]:
    """What the cache holds, but for locks and notes."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name[0] != ".")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf:a/b", HubAddress("a/b")),
        ("hf:some-one/my.model_2@v1.0", HubAddress("some-one/my.model_2", "v1.0")),
        ("hf:a/b@refs/pr/3", HubAddress("a/b", "refs/pr/3")),
        ("hf:a/b/open-mouth@main", HubAddress("a/b", "main", "open-mouth")),
    ],
)
def test_addresses(text: str, address: HubAddress) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:a", "hf:a/b/c/d", "hf:a/../b", "hf:../b", "hf:a/b@", "hf:a/b@../x", "hf:a/b@-x", "hf:a/b.git",
     "hf:a//b", "hf:a/b..c", "hf:a/b--c", "hf:/a/b", "hf:a/b/Smile", "hf:a b/c", "hf:a/b\0", "hf://a/b", "a/b"],
)  # fmt: skip
def test_what_is_not_an_address(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


def test_a_model_is_fetched_once_and_then_needs_neither_network_nor_package(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(NAME, files)
    model = padinv.load(f"hf:{NAME}", backend="cpu")
    assert model.bundle.origin == f"hf:{NAME}@{commit}"
    listed = {**read_bundle(model.bundle.folder).files, "model.json": None}
    assert files_of(model.bundle.folder) == {name: files[name] for name in listed}
    assert not [path for path in hub.paths("GET") if path.endswith((".py", "README.md"))]
    hub.requests.clear()
    hub.down = True
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert find_model(f"hf:{NAME}") == model.bundle.folder
    assert find_model(f"hf:{NAME}@{commit}") == model.bundle.folder
    assert hub.requests == []
    with pytest.raises(MissingPackageError, match=r"pip install 'padinv\[hub\]'"):
        find_model("hf:someone/other")


def test_a_name_stands_for_the_same_commit_until_it_is_pulled(
    hub: HubServer, files: dict[str, bytes], tiny_bundle: Path
) -> None:
    first = hub.add(NAME, files)
    folder = find_model(f"hf:{NAME}")
    (tiny_bundle / "MODEL_CARD.md").write_text("another")
    rewrite(tiny_bundle)
    second = hub.add(NAME, files_of(tiny_bundle))
    assert find_model(f"hf:{NAME}") == folder
    pulled = padinv.pull(f"hf:{NAME}")
    assert (pulled.commit, pulled.before) == (second, first)
    assert find_model(f"hf:{NAME}") == pulled.folder != folder
    assert find_model(f"hf:{NAME}@{first}") == folder
    assert padinv.pull(f"hf:{NAME}").fetched == 0


def test_revisions_are_pinned_by_themselves(hub: HubServer, files: dict[str, bytes]) -> None:
    first = hub.add(NAME, files)
    hub.repositories[NAME].revisions["v1"] = first
    assert padinv.pull(f"hf:{NAME}@v1").commit == first
    assert RepositoryCache(NAME).pins() == {"v1": first}
    with pytest.raises(HubError, match="the repository has no such revision"):
        padinv.pull(f"hf:{NAME}@v2")


def test_a_pull_that_breaks_at_ten_points_continues(
    hub: HubServer, files: dict[str, bytes], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    big = {"weights.safetensors": large_safetensors(200_000)}
    (tiny_bundle / "weights.safetensors").write_bytes(big["weights.safetensors"])
    rewrite(tiny_bundle)
    files = files_of(tiny_bundle)
    hub.add(NAME, files)
    total = sum(map(len, files.values()))
    for point in range(10):
        monkeypatch.setenv("PADINV_CACHE", str(tmp_path / f"cache-{point}"))
        hub.sent, hub.cut_after = 0, total * (2 * point + 1) // 20
        with pytest.raises(HubError, match="what arrived is kept"):
            padinv.pull(f"hf:{NAME}")
        assert not RepositoryCache(NAME).cached()
        first = hub.sent
        hub.repair()
        hub.sent = 0
        folder = padinv.pull(f"hf:{NAME}").folder
        assert files_of(folder) == files
        again = first + hub.sent - total  # bytes that were sent twice
        assert again <= len(files["model.json"]) + 2 * (1 << 14), f"broken after {first} bytes"
        assert hub.sent < total or point == 0


def large_safetensors(count: int) -> bytes:
    import numpy as np

    from padinv.runtime.safetensors_file import safetensors_bytes

    return safetensors_bytes({"x": np.random.default_rng(0).normal(size=count // 4).astype("f4")}, {})


def test_a_pull_that_is_killed_holds_no_lock_and_keeps_whole_files(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add(NAME, files)
    hub.stalled_file = "generator.onnx"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-home"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    other = subprocess.Popen([sys.executable, "-c", f"import padinv; padinv.pull('hf:{NAME}')"])
    try:
        assert hub.stalled.wait(60)
    finally:
        other.kill()
        other.wait(30)
    hub.repair()
    assert files_of(padinv.pull(f"hf:{NAME}").folder)["generator.onnx"] == files["generator.onnx"]
    asked = [path.rpartition("/")[2] for path in hub.paths("GET") if path.startswith("/cdn/")]
    assert asked.count("encoder.onnx") == 1
    assert asked.count("generator.onnx") == 2


def test_what_a_killed_pull_left_is_checked(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, files)
    partial = RepositoryCache(NAME).partial(hub.repositories[NAME].revisions["main"])
    partial.mkdir(parents=True)
    (partial / "encoder.onnx.part").write_bytes(files["encoder.onnx"][:700])
    (partial / "mapping.onnx.part").write_bytes(b"what another version left" * 2)  # not the start of this file
    (partial / "generator.onnx").write_bytes(b"torn")
    assert files_of(padinv.pull(f"hf:{NAME}").folder)["mapping.onnx"] == files["mapping.onnx"]


@pytest.mark.parametrize("name", ["encoder.onnx", "constants.safetensors", "MODEL_CARD.md", "model.json"])
def test_one_flipped_bit_is_refused(hub: HubServer, files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    hub.add(NAME, files)
    hub.flipped = (name, len(files[name]) // 2)
    with pytest.raises(HubError, match=rf"{name} of hf:{NAME} was refused: .* does not have the hash"):
        find_model(f"hf:{NAME}")
    assert cached_files(tmp_path) == []
    hub.repair()
    assert files_of(find_model(f"hf:{NAME}"))[name] == files[name]


@pytest.mark.parametrize("name", ["encoder.onnx", "MODEL_CARD.md"])
def test_a_truncated_file_is_refused(hub: HubServer, files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    hub.add(NAME, files)
    hub.shortened = name
    with pytest.raises(HubError, match="was cut off before its end"):
        find_model(f"hf:{NAME}")
    assert not RepositoryCache(NAME).cached()
    hub.repair()
    assert files_of(find_model(f"hf:{NAME}"))[name] == files[name]


@pytest.mark.parametrize(
    ("announced", "sentence"),
    [
        ({"encoder.onnx": {"lfs": {"sha256": "0" * 64}}}, "another size or SHA-256"),
        ({"encoder.onnx": {"size": 5}}, "another size or SHA-256"),
        ({"MODEL_CARD.md": {"blobId": "0" * 40}}, "does not have the hash"),
        ({"model.json": {"blobId": None}}, "does not have the hash"),
        ({"model.json": {"size": 10}}, "sent more of model.json than the 10 bytes"),
        ({"model.json": {"size": 1 << 30}}, "larger than 4 MiB"),
    ],
)
def test_a_hub_that_announces_something_else_is_refused(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, announced: dict[str, Any], sentence: str
) -> None:
    hub.add(NAME, files)
    hub.announce = announced
    with pytest.raises(HubError, match=sentence):
        find_model(f"hf:{NAME}")
    assert not [path for path in hub.paths("GET") if "/cdn/" in path and "encoder" in path]
    assert not RepositoryCache(NAME).cached()


@pytest.mark.parametrize("name", ["weights.pkl", "pytorch_model.bin", "old/G.pt", "x.PTH", "last.ckpt"])
def test_a_repository_with_a_pickle_is_refused_in_a_sentence(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    hub.add(NAME, {**files, name: pickle.dumps("harmless")})
    with pytest.raises(HubError) as refused:
        find_model(f"hf:{NAME}")
    assert str(refused.value).startswith(
        f"hf:{NAME} holds '{name}', a kind of file that can run code when it is loaded"
    )
    assert "\n" not in str(refused.value)
    assert not [path for path in hub.paths("GET") if "/resolve/" in path]
    assert cached_files(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["../../escape.json", "/etc/padinv.json", "model.py", "engine.plan", ".hidden.json", "a/b.onnx", "con.json",
     "directions/../x.json", "directions/a/b.safetensors", "x.json.", "a\\b.json", "notes.txt:stream.txt", "run.sh"],
)  # fmt: skip
def test_a_manifest_that_lists_something_else_is_refused(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    data = b"{}"
    manifest = json.loads(files["model.json"])
    manifest["files"][name] = {"sha256": sha256(data), "bytes": len(data)}
    hub.add(NAME, {**files, name: data, "model.json": json.dumps(manifest).encode()})
    with pytest.raises(HubError):
        find_model(f"hf:{NAME}")
    assert cached_files(tmp_path) == []
    assert not list(tmp_path.rglob("*escape*"))


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("constants.safetensors", pickle.dumps({"w_avg": [1.0] * 50}), "constants.safetensors"),
        ("encoder.onnx", b"\x08\x08" + b"x" * 300, r"encoder\.onnx is not a valid ONNX graph"),
        ("directions/figures.json", b"{" * 10, "nothing was kept"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path, name: str, data: bytes, sentence: str
) -> None:
    manifest = json.loads(files["model.json"])
    manifest["files"][name] = {"sha256": sha256(data), "bytes": len(data)}
    hub.add(NAME, {**files, name: data, "model.json": json.dumps(manifest).encode()})
    with pytest.raises(HubError, match=sentence):
        find_model(f"hf:{NAME}")
    assert cached_files(tmp_path) == []


def test_sizes_are_limited() -> None:
    entry = {"sha256": "0" * 64}
    with pytest.raises(HubError, match=r"encoder.onnx, which is larger than 8192 MiB"):
        rules.check_files({"encoder.onnx": {**entry, "bytes": (8 << 30) + 1}}, "hf:a/b")
    with pytest.raises(HubError, match="larger than 16 GiB"):
        rules.check_files({f"{k}.onnx": {**entry, "bytes": 8 << 30} for k in range(3)}, "hf:a/b")
    with pytest.raises(HubError, match="differ in case only"):
        rules.check_files({"a.onnx": {**entry, "bytes": 1}, "A.onnx": {**entry, "bytes": 1}}, "hf:a/b")


def test_a_full_disk_is_seen_before(hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, files)
    monkeypatch.setattr("padinv.runtime.hub.cache.shutil.disk_usage", lambda folder: type("U", (), {"free": 10})())
    with pytest.raises(
        OutputError, match="nothing was fetched; free space, or choose another folder with PADINV_CACHE"
    ):
        find_model(f"hf:{NAME}")
    assert not [path for path in hub.paths("GET") if "/cdn/" in path]


@pytest.mark.parametrize("commit", ["../../../escape", "0" * 39, "G" * 40])
def test_a_commit_becomes_a_folder_only_where_it_is_one(hub: HubServer, files: dict[str, bytes], commit: str) -> None:
    hub.add(NAME, files)
    repository = hub.repositories[NAME]
    repository.commits[commit] = files
    repository.revisions["main"] = commit
    with pytest.raises(HubError, match="as a commit, which it cannot be"):
        find_model(f"hf:{NAME}")


def test_a_redirection_to_another_host_is_followed_without_the_token(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add(NAME, files, private=True)
    with serving() as other:
        other.blobs = hub.blobs
        hub.cdn = other.url.replace("127.0.0.1", "localhost")
        assert files_of(find_model(f"hf:{NAME}"))["encoder.onnx"] == files["encoder.onnx"]
        assert other.requests
        assert {authorization for _, _, authorization in other.requests} == {None}
        assert f"Bearer {TOKEN}" in {authorization for _, _, authorization in hub.requests}


def test_what_another_host_sends_is_verified(hub: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.add(NAME, files)
    with serving() as other:
        other.blobs = dict(hub.blobs)
        other.blobs[sha256(files["encoder.onnx"])] = files["encoder.onnx"][::-1]
        hub.cdn = other.url
        with pytest.raises(HubError, match=r"encoder.onnx of hf:someone/tiny was refused"):
            find_model(f"hf:{NAME}")
    assert cached_files(tmp_path) == []


def test_a_private_model_needs_the_token_which_is_never_said(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.add(NAME, files, private=True)
    with pytest.raises(HubError, match=r"was not found .* it is private; if it is yours, log in with: hf auth login"):
        find_model(f"hf:{NAME}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.flipped = ("encoder.onnx", 3)
    with pytest.raises(HubError) as refused:
        find_model(f"hf:{NAME}")
    assert TOKEN not in str(refused.value) + caplog.text
    hub.repair()
    assert find_model(f"hf:{NAME}").is_dir()
    assert TOKEN not in "".join(path.read_text("latin-1") for path in RepositoryCache(NAME).folder.rglob("*.json"))


def test_gated_and_foreign_repositories(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    hub.repositories[NAME].gated = True
    with pytest.raises(HubError, match=f"is gated: accept its terms at {hub.url}/{NAME}"):
        find_model(f"hf:{NAME}")
    hub.add("someone/else", {"README.md": b"x", "config.json": b"{}"})
    with pytest.raises(HubError, match=r"not a padinv model: the repository holds no model\.json"):
        find_model("hf:someone/else")


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "--offline"])
def test_offline(hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    hub.add(NAME, files)
    folder = find_model(f"hf:{NAME}")
    hub.requests.clear()
    if how == "--offline":
        network.forbid_network()
    else:
        monkeypatch.setenv(how, "1")
    try:
        assert find_model(f"hf:{NAME}") == folder
        with pytest.raises(HubError, match=rf"{how}.* fetch it once\s*with: padinv pull hf:someone/other@v2"):
            find_model("hf:someone/other@v2")
        with pytest.raises(HubError, match="forbids"):
            padinv.pull(f"hf:{NAME}")
    finally:
        network.forbid_network(False)
    assert hub.requests == []


def test_two_pulls_at_once_fetch_once(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add(NAME, files)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(find_model(f"hf:{NAME}"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len([path for path in hub.paths("GET") if "/cdn/" in path and path.endswith("encoder.onnx")]) == 1


@pytest.mark.parametrize("endpoint", ["http://huggingface.co", "ftp://a.b", "huggingface.co", "https://u:p@a.b"])
def test_a_hub_without_https_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str) -> None:
    monkeypatch.setenv("PADINV_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UsageError, match="not an https address, so nothing was fetched"):
        find_model(f"hf:{NAME}")


def test_models_of_two_hubs_are_not_mixed_up(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, files)
    find_model(f"hf:{NAME}")
    with serving() as other:
        monkeypatch.setenv("HF_ENDPOINT", other.url)
        with pytest.raises(HubError, match="was not found"):
            find_model(f"hf:{NAME}")


def test_a_hub_that_does_not_answer(hub: HubServer) -> None:
    hub.down = True
    with pytest.raises(HubError, match=rf"{hub.url} does not answer .* run the same command again"):
        find_model(f"hf:{NAME}")


def test_nothing_else_imports_the_package_or_asks_the_network() -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*a): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "import padinv\n"
        "from padinv.cli.main import app\n"
        "padinv.load().bundle, padinv.list_models()\n"
        "for words in (['info'], ['models'], ['directions', 'list']):\n"
        "    try: app(words)\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'huggingface_hub' not in sys.modules and 'yaml' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
