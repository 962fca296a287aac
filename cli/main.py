"""The `padinv` command: a table of verbs that load when asked for, and the one place where errors become sentences."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from padinv.cli import common_options
from padinv.cli.console import say
from padinv.cli.help import HelpCommand, write_examples, write_verbs
from padinv.cli.hub_progress import show_transfers
from padinv.cli.json_output import print_failure
from padinv.cli.provenance import add_provenance_options
from padinv.runtime.errors import ExitCode, MissingPackageError, PadInvError, UsageError, is_out_of_memory

# verb -> (module, help line). The module defines `command`, a function with Typer annotations; it is imported only when
# its verb is used, so that `padinv --help` stays fast and never imports torch.
VERBS: dict[str, tuple[str, str]] = {
    "invert": (
        "padinv.cli.commands.invert",
        "Invert photographs: reconstruction, inversion file, metrics and a report.",
    ),
    "blend": ("padinv.cli.commands.blend", "Give one face's features to another's shape, hair and background."),
    "edit": (
        "padinv.cli.commands.edit",
        "Edit pictures along named directions: smile, age, glasses, pose and others.",
    ),
    "directions": (
        "padinv.cli.commands.directions",
        "Make, import, list and show directions for padinv edit.",
    ),
    "custom-edit": (
        "padinv.cli.commands.custom_edit",
        "Apply the edit shown by one before/after pair to other images.",
    ),
    "watch": ("padinv.cli.commands.watch", "Invert or edit every new picture of a folder, as it arrives."),
    "interpolate": ("padinv.cli.commands.interpolate", "Interpolate between two images, in one space or both."),
    "align": ("padinv.cli.commands.align", "Cut aligned faces out of photographs."),
    "demo": ("padinv.cli.commands.demo", "Invert the pictures that ship with padinv."),
    "import": ("padinv.cli.commands.import_", "Turn another project's StyleGAN2 checkpoint into padinv's own file."),
    "fetch": ("padinv.cli.commands.fetch", "Fetch weight files of other projects: LPIPS, face recognition, baselines."),
    "models": ("padinv.cli.commands.models", "List the models on this machine, or remove one that was fetched."),
    "pull": ("padinv.cli.commands.pull", "Fetch a model or a direction from a hub, or its newest version."),
    "push": ("padinv.cli.commands.push", "Share a model or directions on a hub."),
    "generate": ("padinv.cli.commands.generate", "Sample pictures from the generator, or render saved inversions."),
    "train-generator": ("padinv.cli.commands.train_generator", "Train a small StyleGAN2 from photographs."),
    "dataset": (
        "padinv.cli.commands.dataset",
        "Make an archive of training pictures: resized once, checked, split.",
    ),
    "train": ("padinv.cli.commands.train", "Train an encoder for a frozen generator."),
    "eval": ("padinv.cli.commands.eval", "Measure how well a model reconstructs pictures, alone or beside another."),
    "reproduce": ("padinv.cli.commands.reproduce", "Make the paper's tables again: train, measure, print and save."),
    "export": (
        "padinv.cli.commands.export",
        "Export a trained model as ONNX graphs, with TensorRT engines on request.",
    ),
    "studio": ("padinv.cli.commands.studio", "Edit photographs in the browser, on this machine."),
    "serve": ("padinv.cli.commands.serve", "Serve a model over HTTP."),
    "bench": ("padinv.cli.commands.bench", "Find the fastest backend, precision and batch size on this machine."),
    "verify": ("padinv.cli.commands.verify", "Check backends, precisions and training on this machine."),
    "info": ("padinv.cli.commands.info", "Describe a padinv file or folder, or another project's checkpoint."),
}

# Verbs that write pictures which a model has changed or made.
PICTURE_VERBS = frozenset(
    {
        "invert",
        "blend",
        "edit",
        "custom-edit",
        "interpolate",
        "watch",
        "demo",
        "directions show",
        "generate",
        "studio",
        "serve",
    }
)

# Import name of an optional package -> extra that brings it.
EXTRAS = {
    "torch": "train",
    "accelerate": "train",
    "tensorboard": "train",
    "onnx": "export",
    "onnxscript": "export",
    "huggingface_hub": "hub",
    "tensorrt": "trt",
    "av": "video",
}

# Verb -> extra that brings torch together with everything else that the verb needs.
VERB_EXTRAS = {"export": "export", "invert": "export"}


class LazyCommands(dict[str, Any]):
    """Verb -> command; the keys are known at once, a value is imported when it is taken."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(VERBS))

    def __getitem__(self, verb: str) -> Any:
        if super().__getitem__(verb) is None:
            module = import_module(VERBS[verb][0])
            command = module.command
            if isinstance(command, typer.Typer):  # a verb with verbs of its own, like directions
                app = command
            else:
                app = typer.Typer(add_completion=False, rich_markup_mode=None)
                settings = {"help_option_names": ["-h", "--help"]}
                kind = getattr(module, "COMMAND", None)  # a verb with its own argument parser
                app.command(name=verb, cls=kind or HelpCommand, context_settings=settings)(command)
            self[verb] = typer.main.get_command(app)
            for words, inner in _with_names(verb, super().__getitem__(verb)):
                if words in PICTURE_VERBS:
                    add_provenance_options(inner)
            common_options.add_common_options(super().__getitem__(verb))
        return super().__getitem__(verb)

    def get(self, verb: str, default: Any = None) -> Any:
        return self[verb] if verb in VERBS else default

    def items(self) -> Any:
        return [(verb, self[verb]) for verb in self]

    def values(self) -> Any:
        return [self[verb] for verb in self]


def _with_names(verb: str, command: Any) -> list[tuple[str, Any]]:
    """A command, or those of a group, as (words, command)."""
    inner = getattr(command, "commands", None)
    return [(verb, command)] if inner is None else [(f"{verb} {name}", one) for name, one in inner.items()]


class Verbs(TyperGroup):
    """The group of all verbs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        write_verbs(formatter, {verb: line for verb, (_, line) in VERBS.items()})

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        write_examples(formatter, "")

    def invoke(self, ctx: Any) -> Any:
        common_options.reset()
        arguments = (*getattr(ctx, "_protected_args", ()), *ctx.args)
        as_json = "--json" in arguments
        try:
            common_options.show_log()
            show_transfers()
            refuse_empty(arguments)
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted; everything finished so far is kept")
            if as_json:
                print_failure("interrupted; everything finished so far is kept", "interrupted", ExitCode.INTERRUPTED)
            raise SystemExit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader went away (`padinv ... | head`): what is left in the buffer has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(ExitCode.INTERRUPTED) from None
        except Exception as error:
            if as_json and isinstance(error, tuple(_click_errors())):
                print_failure(error.format_message(), "usage", ExitCode.USAGE)  # type: ignore[attr-defined]
            if isinstance(error, (typer.Exit, typer.Abort, *_click_errors())):
                raise
            raise SystemExit(explain(error, ctx.invoked_subcommand, as_json=as_json)) from None


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse empty arguments: as a path they would mean the current folder.

    Raises:
        UsageError
    """
    if any(not one.strip() or (one.startswith("--") and one.endswith("=")) for one in arguments):
        raise UsageError("an argument is empty, so nothing was done; name a file or folder ('.' is the current folder)")


def _click_errors() -> Iterator[type[BaseException]]:
    """Click's base error. Newer Typer carries its own copy of click, so the class is found through Typer's."""
    return (kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def explain(error: BaseException, verb: str | None = None, *, as_json: bool = False) -> int:
    """Print one sentence for an error of `verb`, with `as_json` also as an object; return the exit code."""
    if os.environ.get("PADINV_DEBUG") == "1":
        traceback.print_exception(error)
    sentence, code, exit_code = _explanation(error, verb)
    say(f"error: {sentence}")
    if as_json:
        print_failure(sentence, code, exit_code)
    return exit_code


def _explanation(error: BaseException, verb: str | None) -> tuple[str, str, int]:
    """The sentence, the machine-readable code and the exit code of an error."""
    if isinstance(error, ModuleNotFoundError) and (root := (error.name or "").split(".")[0]) in EXTRAS:
        extra = VERB_EXTRAS.get(verb or "", EXTRAS[root]) if root == "torch" else EXTRAS[root]
        error = MissingPackageError(root, extra, f"padinv {verb}" if verb else "this command")
    if isinstance(error, PadInvError):
        return str(error), error.code, error.exit_code
    if is_out_of_memory(error):
        sentence = "out of memory, and the work was not finished; take a smaller --batch or smaller pictures"
        return sentence, "out-of-memory", ExitCode.FAILED
    text = " ".join(str(error).split())[:300]
    sentence = (
        f"something went wrong inside padinv ({type(error).__name__}: {text}), and the work was not finished; "
        "please report it with the output of the same command under PADINV_DEBUG=1"
    )
    return sentence, "internal", ExitCode.FAILED


def _terminated(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


app = typer.Typer(cls=Verbs, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        from padinv import __version__

        typer.echo(f"padinv {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """High-fidelity GAN inversion with padding space: train, export, invert and edit.

    Exit codes: 0 done; 1 failed, nothing usable came out; 2 wrong use; 3 done, with some inputs skipped; 130
    interrupted, with all finished work kept.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """Entry point of the `padinv` script."""
    # Pillow warns about damaged metadata of pictures that it can still read: noise to the person at the terminal.
    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
    for name in ("SIGTERM", "SIGHUP"):
        # A signal that the process was started to ignore (nohup) stays ignored.
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _terminated)
    # A console of another alphabet (cp1252, cp437, C) shows a question mark for what it lacks; the work is not lost.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="padinv")


if __name__ == "__main__":
    main()
