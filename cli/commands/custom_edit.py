"""`padinv custom-edit`: one or several pairs of pictures define an edit, which is applied to any number of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from padinv.cli import options as opt
from padinv.cli.help import HelpCommand
from padinv.cli.option_groups import grouped
from padinv.cli.output import EventPrinter, sum_up
from padinv.runtime.batch.pair_edit import PairSpace
from padinv.runtime.editing.gallery import parse_strengths
from padinv.runtime.errors import ExitCode, UsageError
from padinv.runtime.folders.custom_edit import DEFAULT_OUT, custom_edit_folder
from padinv.runtime.folders.result import CustomEditResult


class COMMAND(HelpCommand):
    """Reads `--pair A A'` any number of times: Typer repeats options of one value only, so each pair becomes two."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, read = list(args), []
        while given:
            word = given.pop(0)
            if word == "--":
                read += [word, *given]
                break
            read.append(word)
            if word == "--pair" and len(given) >= 2 and not any(value.startswith("--") for value in given[:2]):
                read += [given.pop(0), "--pair", given.pop(0)]
        return super().parse_args(ctx, read)


@grouped
def command(
    *,
    how: opt.Editing,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="TARGET...", help="Further targets, so that shell patterns work.")
    ] = None,
    pair: Annotated[
        list[Path] | None,
        typer.Option(
            "--pair",
            metavar="A A'",
            help="A picture and its edited version, or their inversion files. Repeated: pairs of the same edit, whose "
            "mean is taken.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="PATH", help="Picture, inversion, folder or clip to edit; may be repeated."),
    ] = None,
    direction: Annotated[
        Path | None,
        typer.Option("--direction", metavar="FILE", help="A saved direction (a file, or of a hub) instead of a pair."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save the direction as a .safetensors file.")
    ] = None,
    space: Annotated[
        PairSpace,
        typer.Option(
            "--space",
            help="Where the edit is made; spatial: in the spatial code alone, for what is added to a face; auto "
            "decides by what each does to other faces; each also makes all of them.",
        ),
    ] = "auto",
    strength: Annotated[
        str, typer.Option("--strength", metavar="NUMBER|auto", help="How far to go; auto decides by the same evidence.")
    ] = "1",
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            metavar="PICTURE",
            help="Mask for --space auto: white pixels are compared. A's size, or a square aligned face.",
        ),
    ] = None,
    region: opt.RegionOption = None,
    resolutions: opt.ResolutionsOption = None,
    vs: Annotated[
        Path | None,
        typer.Option(
            "--vs",
            metavar="BUNDLE",
            help="A second model: its edits go to OUT/vs, and beside the first model's on the sheet.",
        ),
    ] = None,
    out: opt.PictureOutOption = DEFAULT_OUT,
) -> None:
    """Apply the edit shown by one before/after pair to other images (section 4.4 of the paper).

    The difference between the inversions of A and A' is added to every target: of the padding for what changes form,
    of the latents for what changes style, or of the spatial code alone for what is added (glasses). --space auto tries
    them on faces that the generator draws, and takes the one that makes more of the change there and disturbs less
    around it. --space each writes NAME.padding.png, NAME.latent.png and NAME.both.png as well (Fig. 9 of the paper).
    --vs does the same with a second model, for example an encoder without padding (Fig. 10).
    """
    with EventPrinter(as_json=how.as_json) as show:
        result = custom_edit_folder(
            _pairs(pair or []),
            [*(target or []), *(targets or [])],
            direction=direction,
            space=space,
            strength=_strength(strength),
            mask=mask,
            region=region,
            resolutions=resolutions,
            save=save,
            vs=None if vs is None else replace(how, model=vs).load(),
            out=out,
            on_event=show,
            **how.keywords(),
        )
    raise typer.Exit(_sum_up(result, save or direction, as_json=how.as_json))


def _sum_up(result: CustomEditResult, direction: Path | None, *, as_json: bool) -> int:
    """Print what came out; the exit code. Where a direction was only saved, that has been said already."""
    edit = result.edit
    nothing_to_edit = not (result.outcome.records or result.skipped)
    if nothing_to_edit and not as_json:
        return ExitCode.DONE
    code = sum_up(
        result,
        "edited",
        as_json=as_json,
        space=edit.space,
        strength=edit.strength,
        evidence=edit.evidence.to_dict() if edit.evidence else edit.direction.info.get("evidence"),
        direction=None if direction is None else str(direction),
    )
    return ExitCode.DONE if nothing_to_edit else code


def _pairs(paths: list[Path]) -> list[tuple[Path, Path]]:
    """A, A', B, B', ... -> pairs."""
    if len(paths) % 2:
        raise UsageError(f"--pair takes a picture and its edited version, and {paths[-1]} stands alone")
    return list(zip(paths[::2], paths[1::2], strict=True))


def _strength(text: str) -> float | None:
    """A number; None for 'auto'."""
    if text == "auto":
        return None
    values = parse_strengths(text)
    if len(values) != 1:
        raise UsageError(f"--strength takes one number or auto here, not {text!r}")
    return values[0]
