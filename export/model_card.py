"""The model card of a bundle that was given none: what the manifest knows, in words."""

from __future__ import annotations

from typing import Any


def model_card(manifest: dict[str, Any]) -> str:
    """Markdown from a manifest (`padinv.runtime.bundle`)."""
    spec, encoder = manifest["spec"], manifest["encoder"]
    size = min(spec["resolution"], 256)
    rows = [
        ("Generator", f"StyleGAN2, {spec['resolution']} px, channels {', '.join(map(str, spec['channels']))}"),
        ("Latent codes", f"{2 * len(spec['channels'])} of {spec['w_dim']} numbers (W+)"),
        ("Padding", _padding(encoder, spec)),
        ("Encoder", f"`{encoder['architecture']}`, input {size} x {size} RGB in [-1, 1]"),
        ("Alignment", spec["template"] or "none: pictures are taken as they are"),
        ("Precision", ", ".join(manifest["precision"])),
        ("Generator hash", f"`{manifest['generator_hash'][:16]}`"),
    ]
    lines = [f"# {manifest['name']}", "", "An encoder and a StyleGAN2 generator with padding space (PadInv).", ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""]
    lines += ["## Origin", ""]
    for kind in ("generator", "encoder"):
        origin = manifest["provenance"].get(kind, {})
        lines.append(f"- {kind}: `{origin.get('file', 'unknown')}`, SHA-256 `{origin.get('sha256', 'unknown')}`")
    lines += ["", "## Agreement with torch", "", "Largest absolute difference on images, at batch 1, 3 and 8:", ""]
    for precision, parity in manifest["parity"].items():
        images = parity["generator"]["output"]
        figures = ", ".join(f"{value:.1e}" for value in images.values())
        lines.append(f"- {precision}: generator {figures}; reconstructions {parity['reconstruction']:.1e}")
    lines += [
        "",
        "## Not stated",
        "",
        "Training pictures, their licence, and limits of use are not known to the exporter. Whoever publishes this "
        "bundle should say them; `padinv export --card FILE` takes a card along.",
        "",
    ]
    return "\n".join(lines)


def _padding(encoder: dict[str, Any], spec: dict[str, Any]) -> str:
    if not encoder["padding"]:
        return "not predicted (W+ only); the generator still takes it"
    rings = encoder["pad_resolutions"] or [
        4 << k for k in range(len(spec["channels"])) if 4 << k <= spec["max_pad_res"]
    ]
    return ("constant input and " if encoder["const"] else "") + f"rings at {', '.join(map(str, rings))} px"
