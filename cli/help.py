"""How `padinv --help` and every verb's help are laid out: grouped, and with examples at the end."""

from __future__ import annotations

import shutil
from typing import Any

from typer.core import TyperCommand

# Help never is wider than this, so that lines stay easy to read on a wide terminal.
MAX_WIDTH = 100

# What `padinv` alone shows: heading -> verbs. Verbs that are missing here are listed under `OTHER`.
VERB_GROUPS: dict[str, tuple[str, ...]] = {
    "Invert and edit photographs": (
        "demo", "invert", "blend", "edit", "custom-edit", "interpolate", "directions", "align", "generate", "watch",
        "studio",
    ),
    "Make and use models": ("models", "pull", "push", "fetch", "import", "export", "info", "bench", "verify", "serve"),
    "Train and measure": ("dataset", "train", "train-generator", "eval", "reproduce"),
}  # fmt: skip
OTHER = "Other commands"

# What the verbs' help ends with; sub-commands are called as they are typed.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "padinv demo                                  # invert the pictures that ship with padinv",
        "padinv invert me.jpg --paste-back            # reconstruct a face and put it back",
        "padinv blend me.jpg you.jpg                  # your shape and hair with my features",
    ),
    "align": ("padinv align photos/ --out faces", "padinv align group.jpg --size 256 --json"),
    "bench": ("padinv bench", "padinv bench --backend cpu --backend openvino --save"),
    "blend": ("padinv blend a.jpg b.jpg --paste-back", "padinv blend a.jpg photos/ --style-mixing --out blends"),
    "custom-edit": (
        "padinv custom-edit --pair plain.jpg glasses.jpg --target photos/",
        "padinv custom-edit --direction glasses.safetensors me.jpg --strength 1.5",
    ),
    "dataset": (
        "padinv dataset ffhq-1024.zip --size 256 --split 65000 --out ffhq256.zip",
        "padinv dataset church_outdoor_train_lmdb --size 256 --out church256-shards",
    ),
    "demo": ("padinv demo", "padinv demo --out demo --json"),
    "directions fit": (
        "padinv directions fit hat --positive with-hats --negative without",
        "padinv directions fit smile photos --labels labels.csv --control age",
    ),
    "directions import": (
        "padinv directions import age.npy --made-for this --name age",
        "padinv directions import ganspace.npz --made-for this --component 2",
    ),
    "directions list": ("padinv directions list", "padinv directions list my-directions/ --json"),
    "directions sefa": ("padinv directions sefa --count 8", "padinv directions sefa --layers 0-3 --name shape"),
    "directions show": (
        "padinv directions show",
        "padinv directions show smile.safetensors --on me.jpg --strength -2:2:5",
    ),
    "edit": ("padinv edit smile=0.8,age=-0.3 photos/ --paste-back", "padinv edit smile me.mp4"),
    "eval": ("padinv eval photos/", "padinv eval photos/ --model my-bundle --vs other-bundle --limit 100"),
    "export": (
        "padinv export runs/faces --out my-bundle --fp16",
        "padinv export --generator G.safetensors --encoder E.safetensors --out my-bundle",
    ),
    "fetch": ("padinv fetch", "padinv fetch lpips-alex --out weights"),
    "generate": ("padinv generate --seeds 0-15 --truncation 0.7", "padinv generate a.safetensors --out rendered"),
    "import": (
        "padinv import stylegan2-ffhq.pkl --out G.safetensors",
        "padinv import psp_ffhq.pt --encoder --out E.safetensors",
    ),
    "info": ("padinv info", "padinv info my-bundle --json"),
    "interpolate": (
        "padinv interpolate a.jpg b.jpg --space padding --steps 9",
        "padinv interpolate --from-average photos/ --frames",
    ),
    "invert": ("padinv invert photos/ --out inverted", "padinv invert me.jpg --paste-back --open"),
    "models": ("padinv models", "padinv models --updates"),
    "pull": (
        "padinv pull hf:USER/NAME@v1 --out my-bundle",
        "padinv pull hf:USER/NAME/smile --out directions",
    ),
    "push": (
        "padinv push my-bundle hf:USER/NAME --dry-run",
        "padinv push smile.safetensors age.safetensors hf:USER/NAME --card CARD.md",
    ),
    "reproduce": (
        "padinv reproduce table2 --generator G.safetensors --data t.zip --val v.zip --budget 20000 --out tables",
        "padinv reproduce table1 --generator G.safetensors --data t.zip --val v.zip --budget 20000 --out tables "
        "--outputs psp=psp-results",
    ),
    "serve": ("padinv serve", "PADINV_TOKEN=secret padinv serve --host 0.0.0.0 --port 8080"),
    "studio": ("padinv studio", "padinv studio me.jpg you.jpg --model my-bundle"),
    "train": (
        "padinv train --data photos/ --preset faces128 --init faces128",
        "accelerate launch -m padinv train --generator G.safetensors --data ffhq256.zip --preset ffhq",
    ),
    "train-generator": (
        "padinv train-generator --data photos.zip --out runs/generator",
        "padinv train-generator --data photos.zip --out runs/generator --time-limit 60",
    ),
    "watch": ("padinv watch camera/ --out inverted", "padinv watch camera/ --edit smile=0.8 --paste-back --out edited"),
    "verify": ("padinv verify", "padinv verify --backend cuda --backend trt --no-large"),
}

# Heading -> names of options that verbs share. Those of one verb alone stand under `OWN`.
OWN = "Options"
OPTION_GROUPS: dict[str, tuple[str, ...]] = {
    "Alignment": ("align", "landmarks", "face", "fit", "template"),
    "Clips": ("fps", "smooth"),
    "Results": (
        "out", "format", "dtype", "paste_back", "feather", "save_inversions", "sheet", "report", "open_report",
        "overwrite",
    ),
    "Provenance": ("no_provenance", "c2pa_certificate", "c2pa_key"),
    "Model": ("model", "backend", "precision", "device", "threads", "batch", "offline"),
    "General": ("limit", "config", "as_json", "quiet", "verbose", "help"),
}  # fmt: skip


class HelpCommand(TyperCommand):
    """A command whose help is grouped and ends with its examples."""

    def invoke(self, ctx: Any) -> Any:
        from padinv.cli import one_picture
        from padinv.cli.provenance import remember

        remember(ctx)
        return one_picture.run(ctx, super().invoke)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] PATH...`, without the brackets that Typer puts around metavars."""
        pieces = [self.options_metavar or ""]
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                name = str(param.metavar or param.name).strip("[]{}")
                pieces.append(name if param.required else f"[{name}]")
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        formatter.width = min(max(formatter.width, 50), MAX_WIDTH)
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], OWN: []}
        sections.update({heading: [] for heading in OPTION_GROUPS})
        params = self.get_params(ctx)
        of_clips = any(param.name == "fps" for param in params)  # the smoothing of a training is another one
        for param in sorted(params, key=_place):
            record = param.get_help_record(ctx)
            heading = _heading(param)
            if record is not None:
                sections[OWN if heading == "Clips" and not of_clips else heading].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        path = ctx.command_path.split(" ", 1)
        write_examples(formatter, path[1] if len(path) > 1 else "")


def _heading(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return next((heading for heading, names in OPTION_GROUPS.items() if param.name in names), OWN)


def _place(param: Any) -> int:
    """Shared options stand in the order of their group; those of one command in their own."""
    names = OPTION_GROUPS.get(_heading(param), ())
    return names.index(param.name) if param.name in names else 0


def write_examples(formatter: Any, verb: str) -> None:
    """The examples of a verb, each in one line however long it is."""
    examples = EXAMPLES.get(verb, ())
    if examples:
        formatter.write_paragraph()
        formatter.write("Examples:\n" if len(examples) > 1 else "Example:\n")
        for line in examples:
            formatter.write(f"  {line}\n")


def write_verbs(formatter: Any, lines: dict[str, str]) -> None:
    """Every verb with its line of help, under the headings of `VERB_GROUPS`."""
    formatter.width = min(max(shutil.get_terminal_size().columns - 2, 50), MAX_WIDTH)
    grouped = {verb for verbs in VERB_GROUPS.values() for verb in verbs}
    groups = {**VERB_GROUPS, OTHER: tuple(verb for verb in lines if verb not in grouped)}
    for heading, verbs in groups.items():
        records = [(verb, lines[verb]) for verb in verbs if verb in lines]
        if records:
            with formatter.section(heading):
                formatter.write_dl(records, col_max=18)
