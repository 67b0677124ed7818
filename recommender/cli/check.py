"""`recommend check`."""

import json
from typing import Any

import rich_click as click

from recommender.cli import options
from recommender.cli.run import Request, run


@options.command("check")
@options.hidden("target", "exports", "scenario", "verbose")
@options.data
@click.option(
    "--full", panel="Data", is_flag=True, help="Check every image, and resume where an earlier check was interrupted."
)
@options.answer
@options.output
@click.pass_obj
def check(command: str, /, data: str, full: bool, as_json: bool, **arguments: Any) -> None:
    """Report what is wrong or unusual in the data: which files, what was done, what you may do.

    Without --full it checks the images that are measured, and the test split for leaks.
    """
    from probes.errors import BrokenData

    request = Request.take(arguments, as_json=as_json)
    try:
        run(data, request, command=command, check="full" if full else "sample", **arguments)
    except BrokenData as error:
        from recommender.reports.console import console
        from recommender.reports.data_check_page import print_findings
        from recommender.reports.json_report import finding_as_dict

        if as_json:
            click.echo(json.dumps({"findings": [finding_as_dict(finding) for finding in error.findings]}, indent=2))
        else:
            print_findings(error.findings, console())
        raise
