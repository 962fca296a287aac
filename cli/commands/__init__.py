"""One module per command; each defines `command`, a function with Typer annotations."""
