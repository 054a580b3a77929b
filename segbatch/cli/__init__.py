"""The command line: parse, call, print. Commands import what they need when they run, so that help is instant."""

from __future__ import annotations

import importlib
import sys

import click

import segbatch
from segbatch.errors import Exit, SegbatchError

COMMANDS = {
    "demo": "segbatch.cli.demo:demo",
    "init": "segbatch.cli.init:init",
    "check": "segbatch.cli.check:check",
    "stats": "segbatch.cli.stats:stats",
    "preview": "segbatch.cli.preview:preview",
    "bench": "segbatch.cli.bench:bench",
    "doctor": "segbatch.cli.doctor:doctor",
    "schema": "segbatch.cli.schema:schema",
    "pack": "segbatch.cli.pack:pack",
    "plan": "segbatch.cli.plan:plan",
    "submit": "segbatch.cli.submit:submit",
    "resume": "segbatch.cli.resume:resume",
    "requeue": "segbatch.cli.resume:requeue",
    "cancel": "segbatch.cli.resume:cancel",
    "status": "segbatch.cli.watch:status",
    "logs": "segbatch.cli.logs:logs",
    "runs": "segbatch.cli.watch:runs",
    "report": "segbatch.cli.report:report",
    "verify": "segbatch.cli.verify:verify",
    "compare": "segbatch.cli.compare:compare",
    "models": "segbatch.cli.models:models",
    "schedule": "segbatch.cli.schedule:schedule",
    "notify": "segbatch.cli.notify:notify",
    "prune": "segbatch.cli.prune:prune",
}


class CommandTable(click.Group):
    """Commands in the order of a user's day, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else f" Expected one of: {', '.join(COMMANDS)}."
            raise click.UsageError(f"no such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(segbatch.__version__, prog_name="segbatch")
def cli() -> None:
    """Run segmentation jobs described in YAML: train, predict, evaluate, and all of it every night.

    \b
    segbatch submit jobs/demo-train.yaml --wait    train, and watch
    segbatch submit jobs/demo-predict.yaml         predict in the background
    segbatch status                                how far is it?
    segbatch report demo-predict                   scores, and the path of the report

    \b
    Exit codes: 0 done; 1 failed; 2 bad command line, job file or data (nothing was started);
    3 done, but some tiles could not be read and are named in the report;
    4 stopped, too many tiles rejected; 85 stopped on request, `segbatch resume` continues.
    """


def main() -> None:
    """Entry point: run a command; failures meant for the user become one message and an exit code."""
    if sys.argv[1:2] == ["bench"]:
        from segbatch.runs.allocator import begin_with_huge_pages

        # What is measured must work as tasks do.
        begin_with_huge_pages()
    try:
        code = cli.main(standalone_mode=False)
    except SegbatchError as error:
        click.echo(str(error), err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        code = 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"{where}{error.strerror or error}", err=True)
        code = Exit.FAILED
    sys.exit(int(code) if isinstance(code, int) else 0)
