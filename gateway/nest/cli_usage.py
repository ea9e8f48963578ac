"""Mistakes in the command line itself, said like every other one: a sentence, a next step, exit status 2.

typer says them in English and in its own way. They are recognised by its sentences; one that is not known here is shown
as typer says it, so nothing is lost when typer changes its words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import typer

from nest.errors import UserError
from nest.i18n import tr
from nest.logs import printable

# typer brings its own copy of click, older versions use click itself: the classes are found through their heir
_CommandError: type[Exception] = typer.BadParameter.__mro__[2]

_MEANT = r"(?: (?:\(Possible options: |Did you mean )(?P<known>.*?)[?)])?"


def spoken(app: Callable[..., object]) -> Callable[[], None]:
    """`app`, raising UserError for what typer would print; other exit statuses leave as SystemExit."""

    def command() -> None:
        try:
            status = app(standalone_mode=False)
        except _CommandError as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # no mistake: the help is the answer
                print(error, file=sys.stderr)
                sys.exit(2)
            raise UserError(_sentence(_said(error)), _next_step(error)) from error
        except typer.Abort:
            raise KeyboardInterrupt from None
        if isinstance(status, int) and status:
            sys.exit(status)

    return command


def _said(error: BaseException) -> str:
    return str(getattr(error, "format_message", error.__str__)())


def _next_step(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return tr("See how it is written: {command} --help", command=getattr(context, "command_path", None) or "nest")


def _sentence(said: str) -> str:
    for pattern, sentence in _sentences():
        if found := pattern.fullmatch(said):
            fields = {name: printable(value) for name, value in found.groupdict().items() if value is not None}
            if "why" in fields:
                fields["why"] = _expected(found["why"])
            text = sentence.format(**fields)
            if fields.get("known"):
                text += " " + tr("Perhaps {known} is meant.", known=fields["known"].replace("'", ""))
            return text
    return printable(said)


def _expected(why: str) -> str:
    """What pydantic or click expected of a value."""
    for pattern, sentence in _expectations():
        if found := pattern.match(why):
            return sentence.format(**{name: printable(value) for name, value in found.groupdict().items()})
    return printable(why.rstrip("."))


def _sentences() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(pattern, re.DOTALL), sentence)
        for pattern, sentence in (
            (r"Missing argument '?(?P<what>.+?)'?\.", tr("{what} is missing.")),
            (r"Missing option '?(?P<what>.+?)'?\.", tr("The option {what} is missing.")),
            (r"Missing command\.", tr("A command is missing.")),
            (rf"No such command '(?P<what>.*?)'\.{_MEANT}", tr("There is no command {what}.")),
            (rf"No such option:? '?(?P<what>[^\s']+)'?\.?{_MEANT}", tr("There is no option {what}.")),
            (r"Option '(?P<what>.*)' requires an argument\.", tr("The option {what} needs a value.")),
            (r"Option '(?P<what>.*)' does not take a value\.", tr("The option {what} takes no value.")),
            (r"Got unexpected extra argument.*? \((?P<what>.*)\)", tr("There is too much in the line: {what}")),
            (r"Invalid value for '?(?P<what>.+?)'?: (?P<why>.*)", tr("{what}: {why}.")),
        )
    ]


def _expectations() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(pattern, re.DOTALL), sentence)
        for pattern, sentence in (
            (r"Input should be less than or equal to (?P<le>\S+)", tr("at most {le} was expected")),
            (r"Input should be greater than or equal to (?P<ge>\S+)", tr("at least {ge} was expected")),
            (r"Input should be a valid integer|.* is not a valid int", tr("a whole number was expected")),
            (r"Input should be a valid number|.* is not a valid float", tr("a number was expected")),
            (r"Input should be (?P<expected>'.*)", tr("one of {expected} was expected")),
            (r".* is not one of (?P<expected>[^.]*)", tr("one of {expected} was expected")),
        )
    ]
