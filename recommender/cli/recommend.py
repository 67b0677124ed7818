"""The command `recommend`: a group of sub-commands, of which `recommend` itself is the default.

Nothing heavy is imported before the work begins.
"""

import errno
import importlib.util
import os
import shlex
from typing import Any

import rich_click as click
from click.shell_completion import CompletionItem

from builders.errors import BuildError
from probes.errors import ProbeError
from recommender.cli import options
from recommender.cli.predict import predict
from recommender.cli.sub_commands import backbones, check, compare, cuts, fit, recommend, reference
from recommender.cli.terminal import INTERRUPTED, fail, say
from recommender.errors import RecommendError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a full disk, standard output on one included

_BACKENDS = ("tensorflow", "jax", "torch")  # of Keras

# Options of the version before sub-commands: `recommend DATA --fit` runs `recommend fit DATA`.
OLDER_SPELLINGS = {
    "--list-backbones": ["backbones"],
    "--list-cuts": ["cuts"],
    "--make-reference": ["reference"],
    "--check": ["check"],
    "--check=sample": ["check"],
    "--check=full": ["check", "--full"],
    "--fit": ["fit"],
    "--compare": ["compare"],
}


def in_sub_commands(arguments: list[str]) -> list[str]:
    """The same arguments with a sub-command in place of the option that stood for it; as they are where none did."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = [argument for argument in arguments[:end] if argument in OLDER_SPELLINGS]
    if len(found) > 1:
        raise click.UsageError(
            f"Expected one sub-command. Received: {' and '.join(found)}. Run one after the other: check, compare, fit."
        )
    others = [argument for argument in arguments[:end] if argument not in found]
    return [*(OLDER_SPELLINGS[found[0]] if found else ()), *others, *arguments[end:]]


def _check_backend() -> None:
    """Refuse a backend that Keras can't load: it would raise when it is imported, after the measurements."""
    name = os.environ.get("KERAS_BACKEND")
    if name and (name not in _BACKENDS or importlib.util.find_spec(name) is None):
        raise RecommendError(
            f"Expected KERAS_BACKEND to be one of {', '.join(_BACKENDS)}, and installed. Received: {name!r}. Unset it, "
            "or install its package."
        )


class _Group(click.RichGroup):
    """A group with a default sub-command, that reports the users' errors in one line."""

    main = click.Command.main  # rich_click's own draws a box around usage errors

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands:
            new = in_sub_commands(args)
            if new != args and not context.resilient_parsing:
                say(f"Deprecated: use `{shlex.join(['recommend', *new])}`.")
            args = new
        context.obj = shlex.join(["recommend", *args])
        own = {name for option in self.get_params(context) for name in option.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["recommend", *args]
        return super().parse_args(context, args)

    def list_commands(self, _context: click.Context) -> list[str]:
        """Names in the order of the help: as they were added."""
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        try:
            _check_backend()
            return super().invoke(context)
        except click.UsageError as error:
            if error.ctx is not None and error.ctx.command is self.commands["recommend"]:
                error.ctx = context  # nobody wrote the name of the default sub-command
            if isinstance(error, click.NoSuchOption):
                commands, option = self.commands.values(), error.option_name
                owners = [str(one.name) for one in commands if any(option in part.opts for part in one.params)]
                if owners:
                    message = f"{error.message} It is an option of: {', '.join(owners)}."
                    raise click.NoSuchOption(option, message, ctx=error.ctx) from None
            raise
        except KeyboardInterrupt as error:
            fail(str(error) or "Interrupted. Nothing was written.", INTERRUPTED)
        except (BuildError, ProbeError, RecommendError) as error:
            fail(str(error))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            place = "" if error.filename is None else f" for {str(error.filename)!r}"
            reason = f"{error.strerror}".lower()
            fail(f"Expected room{place} to write. Received: {reason}. Make room, or write elsewhere.")

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Sub-commands; where none begins like that, the options and paths of the default one."""
        if incomplete.startswith("-"):
            return self.commands["recommend"].shell_complete(context, incomplete)
        return super().shell_complete(context, incomplete) or [CompletionItem(incomplete, type="file")]


@click.group(
    cls=_Group,
    commands=[recommend, check, fit, compare, predict, backbones, cuts, reference],
    context_settings=options.SETTINGS,
    epilog="The four scenarios: 1 LINEAR_PROBE (limited data, similar), 2 PARTIAL_FINE_TUNE (plentiful, similar), "
    "3 FULL_FINE_TUNE (plentiful, unlike), 4 SHALLOW_FEATURES (limited, unlike).\n\nCompletion of commands and options "
    'in bash: eval "$(_RECOMMEND_COMPLETE=bash_source recommend)"; zsh_source and fish_source likewise.',
)
@click.version_option(package_name="netgraft", message="netgraft %(version)s", help="Print the version.")
def main() -> None:
    """Measure labelled images and recommend how to transfer a pretrained network to them.

    `recommend DATA` prints the recommendation; `recommend DATA --help` lists its options. A folder that
    has the name of a sub-command is given with its path: `recommend ./check`.
    """
