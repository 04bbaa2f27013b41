"""The command line `parley`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.chat.errors import ParleyError
from core.loop.people import Role
from parley.errors import EXIT_SETUP, NotRunning, SetupError
from parley.logs import configure_logs
from parley.review import review
from parley.settings import Settings, load_settings
from parley.supervisor import OPERATOR_MARK

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A chat bot that you own."
)
models = typer.Typer(no_args_is_help=True, help="What models there are, and whether one fits.")
app.add_typer(models, name="models")
app.add_typer(review, name="review")
admins = typer.Typer(no_args_is_help=True, help="Who may enter the admin console.")
app.add_typer(admins, name="admin")
trail = typer.Typer(no_args_is_help=True, help="What was done in the admin console, and by whom.")
app.add_typer(trail, name="audit")

EXIT_NOT_ANSWERED = 1
EXIT_NOT_RUNNING = 3


def main() -> None:
    """The entry point: errors that an operator can mend are one line each, never a traceback."""
    if sys.platform == "win32":
        _fail("Parley does not run on Windows itself. Install WSL ('wsl --install') and run it there.", EXIT_SETUP)
    try:
        app()
    except NotRunning as error:
        _fail(str(error), EXIT_NOT_RUNNING)
    except (SetupError, ParleyError) as error:
        _fail(str(error), EXIT_SETUP)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(text: str, code: int) -> None:
    for line in text.splitlines():
        sys.stderr.write(f"{OPERATOR_MARK}{line}\n")
    sys.exit(code)


def _begin(part: str, least: str = "debug") -> Settings:
    """Settings and logs; a command whose output is for a person shows nothing below `least`."""
    settings = load_settings()
    levels = ["debug", "info", "warning", "error", "critical"]
    configure_logs(max(settings.log_level, least, key=levels.index), part)
    return settings


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@app.command()
def up() -> None:
    """Start everything on this machine: mailbox, model host, bot, worker."""
    from parley.running import run_until_signal  # noqa: PLC0415 - 'parley --help' needs none of the libraries
    from parley.up import run_up  # noqa: PLC0415

    settings = _begin("up", "error")
    run_until_signal(lambda stopping: run_up(settings, lambda line: _write(f"{line}\n"), stopping))


@app.command()
def bot() -> None:
    """Run the gateways alone: web page, and Slack and Discord when their tokens are set."""
    from parley.parts import run_bot  # noqa: PLC0415
    from parley.running import run_until_signal  # noqa: PLC0415

    settings = _begin("bot")
    run_until_signal(lambda stopping: run_bot(settings, stopping))


@app.command()
def worker(*, log: Annotated[bool, typer.Option(help="Write the log as well.")] = True) -> None:
    """Run a worker alone: it answers what waits in the mailbox, and writes the log."""
    from parley.parts import run_worker  # noqa: PLC0415
    from parley.running import run_until_signal  # noqa: PLC0415

    settings = _begin("worker")
    run_until_signal(lambda stopping: run_worker(settings, stopping, log=log))


@app.command("log")
def write_log() -> None:
    """Run a log writer alone, beside workers that run with --no-log or are too busy."""
    from parley.parts import run_log  # noqa: PLC0415
    from parley.running import run_until_signal  # noqa: PLC0415

    settings = _begin("log")
    run_until_signal(lambda stopping: run_log(settings, stopping))


@app.command()
def host(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8081,
) -> None:
    """Run the model host alone: an OpenAI-compatible server for MODEL."""
    from parley.serving import serve_model  # noqa: PLC0415

    serve_model(_begin("host"), host, port)


@app.command()
def chat() -> None:
    """Chat in the terminal with the running Parley."""
    from parley.chat import run_chat  # noqa: PLC0415

    asyncio.run(run_chat(_begin("chat", "critical"), _write))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the logged interaction instead.")] = False,
) -> None:
    """Ask one question. Exit code 0: answered; 1: failed, refused or stopped; 3: nothing runs."""
    from parley.terminal import ask_once  # noqa: PLC0415

    settings = _begin("ask", "critical")
    if not asyncio.run(ask_once(settings, question, _write, as_json=as_json)):
        sys.exit(EXIT_NOT_ANSWERED)


@app.command()
def check() -> None:
    """Look at settings, connections, tokens, intents, model and clock. Exit code 1 when something is wrong."""
    from parley.doctor import examine  # noqa: PLC0415

    settings = _begin("check", "critical")
    marks = {"ok": "[green]ok[/]", "off": "[dim]off[/]", "warning": "[yellow]warning[/]", "error": "[red]error[/]"}
    console = Console(highlight=False)

    async def report() -> bool:
        sound = True
        async for finding in examine(settings):
            console.print(f"{marks[finding.level]} {finding.subject}:", end=" ")
            console.print(finding.line, markup=False, soft_wrap=True)
            sound = sound and finding.level != "error"
        return sound

    if not asyncio.run(report()):
        sys.exit(1)


@models.command("list")
def list_models() -> None:
    """Show the models that are here."""
    from parley.serving import known_models  # noqa: PLC0415

    table = Table("model", "kind", "parameters", "size", "context", "licence", "fit")
    for row in known_models(_begin("models")):
        table.add_row(*row)
    Console().print(table)


@models.command("check")
def check_model(path: Annotated[str, typer.Argument(help="A GGUF file, a Transformers folder or a hub id.")]) -> None:
    """Say whether a model fits the task, and what it needs. Exit code 1 when it does not."""
    from parley.serving import model_report  # noqa: PLC0415

    _begin("models")
    fit, lines = model_report(path)
    for line in lines:
        _write(f"{line}\n")
    if not fit:
        sys.exit(1)


@admins.command("add")
def add_account(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
    role: Annotated[Role, typer.Option(help="What the account may do.")] = Role.VIEWER,
    *,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Make an account; asks for its password."""
    from parley import people  # noqa: PLC0415

    made = asyncio.run(people.add_account(_begin("admin", "critical"), name, role, from_stdin=password_stdin))
    _write(f"{made.name} may sign in as {made.role.value}.\n")


@admins.command("list")
def list_accounts() -> None:
    """Show all accounts."""
    from parley import people  # noqa: PLC0415

    table = Table("name", "role", "state", "signs in by")
    for found in asyncio.run(people.list_accounts(_begin("admin", "critical"))):
        ways = ["password"] * found.has_password + [found.provider] * bool(found.provider)
        state = "active" if found.active else "disabled"
        table.add_row(escape(found.name), found.role.value, state, ", ".join(ways))
    Console().print(table)


@admins.command("disable")
def disable_account(name: Annotated[str, typer.Argument(help="Whose account.")]) -> None:
    """Shut an account out; its sessions and tokens end at once."""
    from parley import people  # noqa: PLC0415

    changed = asyncio.run(people.disable_account(_begin("admin", "critical"), name))
    _write(f"{changed.name} is disabled.\n")


@admins.command("role")
def change_role(
    name: Annotated[str, typer.Argument(help="Whose account.")], role: Annotated[Role, typer.Argument(help="The role.")]
) -> None:
    """Give an account another role."""
    from parley import people  # noqa: PLC0415

    changed = asyncio.run(people.change_role(_begin("admin", "critical"), name, role))
    _write(f"{changed.name} is {changed.role.value}.\n")


@trail.command("verify")
def verify_trail(
    *, head: Annotated[str, typer.Option(help="A head that was printed before: it must still be in the chain.")] = ""
) -> None:
    """Walk along the whole audit trail. Exit code 1 when an entry was changed, taken out or put in."""
    from parley import people  # noqa: PLC0415

    verdict = asyncio.run(people.verify_trail(_begin("audit", "critical"), head))
    _write(f"{verdict}\n")
    if verdict.broken:
        sys.exit(1)
