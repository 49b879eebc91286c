"""``finkbridge completion``: what makes a shell complete commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_FINKBRIDGE_COMPLETE"
PROGRAM = "finkbridge"


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete finkbridge's commands, options and their values.

    \b
    bash   echo 'eval "$(finkbridge completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(finkbridge completion zsh)"' >> ~/.zshrc
    fish   finkbridge completion fish > ~/.config/fish/completions/finkbridge.fish
    """  # noqa: D301 - click wants the character itself
    kind = get_completion_class(shell)
    if kind is None:  # the choice and click's list are the same
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
