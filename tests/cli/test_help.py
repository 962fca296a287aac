"""Help is grouped, ends with examples that work, and costs little."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from padinv.cli.help import EXAMPLES, OPTION_GROUPS, VERB_GROUPS
from padinv.cli.main import VERBS, app


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with how it is typed; groups themselves are left out."""
    for name in group.commands:
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


ALL = dict(commands(typer.main.get_command(app)))


def test_padinv_alone_prints_its_help_with_three_examples(run_cli: Callable[..., Any]) -> None:
    alone = run_cli()
    assert alone.code == 0
    assert alone.out == run_cli("--help").out
    for heading in (*VERB_GROUPS, "Examples"):
        assert f"\n{heading}:\n" in alone.out
    assert len(alone.out.partition("Examples:\n")[2].strip().splitlines()) == 3


def test_every_verb_has_its_place_in_the_help() -> None:
    grouped = [verb for verbs in VERB_GROUPS.values() for verb in verbs]
    assert sorted(grouped) == sorted(VERBS)


@pytest.mark.parametrize("path", ALL)
def test_every_command_s_help_is_grouped_and_ends_with_two_examples(path: str, run_cli: Callable[..., Any]) -> None:
    result = run_cli(*path.split(" "), "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: padinv {path} [OPTIONS]")
    assert "\nGeneral:\n" in result.out
    assert "{" not in result.out.partition("\n")[0]
    examples = result.out.partition("\nExamples:\n")[2].strip().splitlines()
    assert len(examples) == 2
    assert all(f"padinv {path}" in example for example in examples)


@pytest.mark.parametrize(("path", "example"), [(path, example) for path in ALL for example in EXAMPLES.get(path, ())])
def test_examples_use_options_and_values_that_exist(path: str, example: str) -> None:
    words = shlex.split(example.partition("  #")[0])
    arguments = words[words.index("padinv") + 1 + len(path.split(" ")) :]
    context = ALL[path].make_context(path, arguments, resilient_parsing=False)
    assert context.params


@pytest.mark.parametrize("path", ALL)
def test_shared_options_have_one_help_text_and_one_short_form(path: str) -> None:
    options = {param.name: param for param in ALL[path].params if param.param_type_name == "option"}
    assert {"config", "quiet", "verbose"} <= set(options)
    assert ("open_report" in options) == ("report" in options)
    assert "-q" in options["quiet"].opts


def test_no_option_stands_under_two_headings() -> None:
    names = [name for names in OPTION_GROUPS.values() for name in names]
    assert len(set(names)) == len(names)
