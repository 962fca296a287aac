"""The short form of `padinv info`: what a file is, whether it is whole, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from padinv.runtime.text import printable

Facts = dict[str, Any]
MAX_LINE = 160
_HASH_DIGITS = 12
_SHOWN = 3  # names, notes or metrics that are spelled out


def summary(facts: Facts) -> list[str]:
    """Aligned 'label  text' lines about what `describe` found; everything in them is safe to print."""
    kind = str(facts.get("kind", ""))
    rows = [("kind", _kind(facts)), ("path", facts.get("path"))]
    rows += [*_SUMMARIES.get(kind, _network)(facts)]
    shown = [(label, _short(value)) for label, value in rows if value not in (None, "", [], {})]
    width = max(len(label) for label, _ in shown)
    lines = [f"{label.ljust(width)}  {text}" for label, text in shown]
    return lines + [f"note: {_short(note)}" for note in _notes(facts)]


def _kind(facts: Facts) -> str:
    kind = str(facts.get("kind", ""))
    if kind == "bundle":
        return f"model bundle {facts.get('name')}"
    return f"padinv {kind}" if kind in ("generator", "encoder", "model") else kind


def _bundle(facts: Facts) -> Iterable[tuple[str, Any]]:
    files = _mapping(facts, "files")
    damaged = [name for name, entry in files.items() if _mapping(files, name).get("state") != "ok"]
    size = sum(_number(_mapping(files, name).get("bytes")) for name in files)
    state = "whole" if not damaged else f"damaged: {_join(damaged)}"
    yield "files", f"{len(files)}, {_size(size)}, {state}"
    yield "hub", facts.get("hub")
    yield "licence", facts.get("licence")
    yield "generator", _generator(facts)
    yield "encoder", _encoder(_mapping(facts, "encoder"), facts)
    yield "alignment", facts.get("template") or "none; pictures are taken as they are"
    yield "graphs", _graphs(facts)
    origin = _mapping(facts, "provenance")
    for part in ("generator", "encoder"):
        yield f"{part} from", _origin(_mapping(origin, part))
    yield "made with", _join(f"{k} {v}" for k, v in _mapping(origin, "tools").items() if k in ("padinv", "torch"))


def _graphs(facts: Facts) -> str:
    texts = []
    for precision, entry in _mapping(facts, "parity").items():
        outputs = _mapping(_mapping(entry, "generator"), "output")
        worst = max((_number(v) for v in outputs.values()), default=0.0)
        texts.append(f"{precision} (at most {worst:.1e} from torch)")
    opset = f", opset {facts['opset']}" if "opset" in facts else ""
    return f"{_join(texts) or facts.get('precision', '')}{opset}"


def _generator(facts: Facts) -> str:
    text = f"{facts.get('resolution')} px, {facts.get('layers', facts.get('codes', '?'))} codes of {facts.get('w_dim')}"
    digest = facts.get("generator_hash")
    return f"{text}, {str(digest)[:_HASH_DIGITS]}" if digest else text


def _encoder(config: Facts, facts: Facts) -> str:
    if not config:
        return ""
    words = [str(config.get("architecture", ""))]
    words += [str(config["size"])] if config.get("size") else []
    if config.get("padding") is False:
        words.append("latent codes only")
    else:
        rings = config.get("pad_resolutions") or facts.get("padded_resolutions") or []
        words.append(f"padding at {_join(rings, limit=8)} px" if rings else "no rings")
        words.append("the constant" if config.get("const", True) else "no constant")
    if config.get("spatial"):
        words.append(f"a spatial code at {_join(config['spatial'], limit=4)} px")
    if config.get("refinements"):
        count = config["refinements"]
        words.append(f"in up to {count} passes" if config.get("feedback") == "error" else f"in {count} steps")
    return ", ".join(words)


def _origin(origin: Facts) -> str:
    """'encoder.safetensors: preset faces128, 15,008 images; mse 0.01'."""
    record = _mapping(origin, "record")
    parts = [str(record[key]) for key in ("source",) if key in record]
    parts += [f"preset {record['preset']}"] if record.get("preset") else []
    parts += [f"{_number(record['images']):,.0f} images"] if "images" in record else []
    figures = [
        f"{k} {_number(v):.4g}"
        for k, v in list(_mapping(record, "figures").items())[:_SHOWN]
        if not k.endswith("_without_average")
    ]
    text = "; ".join(part for part in (", ".join(parts), ", ".join(figures)) if part)
    return f"{origin['file']}{': ' + text if text else ''}" if "file" in origin else text


def _inversion(facts: Facts) -> Iterable[tuple[str, Any]]:
    items = [item for item in _list(facts, "items") if isinstance(item, dict)]
    yield "images", facts.get("images")
    yield "of", _join([str(item.get("source", "?")) for item in items], total=facts.get("images"))
    yield "generator", str(facts.get("generator_hash", ""))[:_HASH_DIGITS]
    arrays = _mapping(facts, "arrays")
    rings = [name.removeprefix("pad_") for name in arrays if name.startswith("pad_")]
    yield "codes", "x".join(map(str, list(arrays.get("wp", []))[1:]))
    yield "padding", f"{_join(sorted(rings, key=lambda r: (len(r), r)), limit=8)} px" if rings else "none"


def _direction(facts: Facts) -> Iterable[tuple[str, Any]]:
    for key in ("name", "space", "unit", "origin", "licence"):
        value = facts.get(key)
        yield key, value if isinstance(value, (str, int, float)) else None
    yield "from", _join(_list(facts, "sources"))
    yield "generator", str(facts.get("generator_hash", ""))[:_HASH_DIGITS]


_SOURCES = {  # the end of a digital source type -> what it means
    "compositeWithTrainedAlgorithmicMedia": "a photograph that a trained model edited or drew again",
    "trainedAlgorithmicMedia": "made by a trained model, without a photograph",
}


def _picture(facts: Facts) -> Iterable[tuple[str, Any]]:
    size = " x ".join(map(str, _list(facts, "size")))
    yield "format", f"{facts.get('format')}, {size + ' px, ' if size else ''}{_size(_number(facts.get('bytes')))}"
    found, source = _mapping(facts, "provenance"), str(facts.get("digital_source_type") or "")
    name = source.rstrip("/").rsplit("/", 1)[-1]
    yield "source", f"{_SOURCES[name]} ({name})" if name in _SOURCES else source
    yield "command", found.get("command")
    yield "model", f"{found['model']}, {str(found.get('model_hash'))[:_HASH_DIGITS]}" if "model" in found else None
    yield "made with", f"padinv {found['version']}" if "version" in found else None
    states = {True: "as padinv wrote it", False: "changed since padinv wrote it"}
    unchanged = facts.get("unchanged")
    yield "file", states[unchanged] if isinstance(unchanged, bool) else None
    signed = _mapping(facts, "c2pa")
    who = f" by {signed['signer']}" if signed.get("signer") else ""
    yield "C2PA", f"{signed['state']}{who} ({_join(_list(signed, 'problems')) or 'no problems'})" if signed else None
    if not (found or source or signed):
        yield "provenance", "nothing is recorded in this file"


def _network(facts: Facts) -> Iterable[tuple[str, Any]]:
    """padinv's own network files, and checkpoints of other projects."""
    record = _mapping(facts, "record")
    yield "source", facts.get("source") or record.get("source")
    yield "container", facts.get("container")
    yield "network", facts.get("network")
    if "resolution" in facts:
        layers = facts.get("layers") or 2 * len(facts.get("channels") or [])
        yield "generator", _generator({**facts, "layers": layers})
        channels = facts.get("channels")
        values = channels.values() if isinstance(channels, dict) else channels or []
        yield "channels", _join(values, limit=9)
    if facts.get("kind") in ("encoder", "model"):
        yield "encoder", _encoder(_mapping(facts, "config"), facts)
    critic = facts.get("discriminator")
    if facts.get("kind") in ("generator", "generator checkpoint"):
        yield "discriminator", "yes" if critic else "none"
    yield "noise", facts.get("noise")
    yield "average code", facts.get("truncation_centre")
    count = facts.get("parameters", facts.get("numbers"))
    yield "parameters", f"{_number(count):,.0f}" if count is not None else None
    yield "from", _origin({"file": record["file"], "record": record} if "file" in record else {"record": record})
    yield "size", _size(_number(facts["bytes"])) if "bytes" in facts else None


def _run(facts: Facts) -> Iterable[tuple[str, Any]]:
    config = _mapping(facts, "config")
    settings = _mapping(config, "settings") or _mapping(config, "config") or config
    for key in ("preset", "arch", "images", "batch"):
        value = settings.get(key, config.get(key))
        yield key, f"{value:,}" if type(value) is int else value if isinstance(value, str) else None
    last = facts.get("last_metrics")
    if isinstance(last, dict):
        figures = [f"{k} {_number(v):.5g}" for k, v in last.items() if type(v) in (int, float)]
        yield "last figures", _join(figures, limit=8)
    yield "files", _join(_list(facts, "files"), limit=12)


_SUMMARIES: dict[str, Callable[[Facts], Iterable[tuple[str, Any]]]] = {
    "bundle": _bundle,
    "inversion": _inversion,
    "direction": _direction,
    "picture": _picture,
    "run": _run,
}


def _mapping(facts: Any, key: str) -> Facts:
    value = facts.get(key) if isinstance(facts, dict) else None
    return value if isinstance(value, dict) else {}


def _list(facts: Facts, key: str) -> list[Any]:
    value = facts.get(key)
    return value if isinstance(value, list) else []


def _number(value: Any) -> float:
    """A number out of a file; 0 for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) else 0.0
    except OverflowError:
        return float("inf")


def _notes(facts: Facts) -> list[str]:
    record = _mapping(facts, "record")
    notes = facts.get("notes") or record.get("notes")
    return [str(note) for note in notes[: 2 * _SHOWN]] if isinstance(notes, list) else []


def _join(values: Iterable[Any], limit: int = _SHOWN, total: int | None = None) -> str:
    found = [str(value) for value in values]
    more = (total if isinstance(total, int) else len(found)) - min(len(found), limit)
    return ", ".join(found[:limit]) + (f" and {more:,} more" if more > 0 else "")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count:,.0f} B"


def _short(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 4] + " ..."
