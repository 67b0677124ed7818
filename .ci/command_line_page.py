"""The commands on the documentation site, made of what `--help` says."""

import inspect

import click

from recommender.cli.recommend import main

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the commands into the page that has a place for them."""
    return markdown.replace(PLACE, commands()) if PLACE in markdown else markdown


def commands() -> str:
    """Each sub-command with its options, as Markdown."""
    group = click.Context(main, info_name="recommend")
    parts = [(name, main.get_command(group, name)) for name in main.list_commands(group)]
    return "\n\n".join(_command(name, command) for name, command in parts)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name="recommend" if name == "recommend" else f"recommend {name}")
    usage = " ".join([context.info_name or "", *command.collect_usage_pieces(context)])
    panels: dict[str, list[str]] = {}
    for option in command.get_params(context):
        if isinstance(option, click.Option):
            panels.setdefault(getattr(option, "panel", None) or "Other", []).append(_row(option, context))
    head = "| {} | meaning | default |\n|---|---|---|\n"
    tables = [head.format(title.lower()) + "\n".join(rows) for title, rows in panels.items()]
    text = [f"## {context.info_name}", f"```text\n{usage}\n```", inspect.cleandoc(command.help or ""), *tables]
    return "\n\n".join([*text, *([command.epilog] if command.epilog else [])])


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" {option.make_metavar(context).strip('[]')}"
    default = option.get_default(context, call=False)
    shown = ", ".join(map(str, default)) if isinstance(default, (list, tuple)) else default
    known = not option.is_flag and shown is not None and "UNSET" not in str(shown)
    cells = (f"{names}{_escaped(value)}", _escaped(option.help or ""), f"`{shown}`" if known and str(shown) else "")
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
