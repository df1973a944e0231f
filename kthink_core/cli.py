"""The command line. Torch is imported only by the commands that compute."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, get_args

import kthink_core
from kthink_core.access.exposure import check_app_exposure, check_worker_exposure
from kthink_core.access.worker_token import with_token
from kthink_core.arguments import (
    add_cache,
    add_config,
    add_preset,
    cache_of,
    check_text,
    experiment_name,
    whole_number,
)
from kthink_core.commands import (
    ablate,
    attribute,
    auditing,
    inject,
    inviting,
    kept_list,
    labelling,
    own_traces,
    receiving,
    reproduce,
    saving,
    sending,
    sentences,
    shelving,
    steer,
    steer_eval,
    tooling,
    train_sae,
    upgrading,
)
from kthink_core.commands.telling import tell
from kthink_core.config import BATCH_SIZE, Device, ExperimentConfig
from kthink_core.errors import BadValue, KthinkError, UnknownName, WorkerFailed, in_words
from kthink_core.listing import FORMATS, QUERIES, experiments_table, query_table, write_table
from kthink_core.precompute.bundled import is_outlived
from kthink_core.presets import preset
from kthink_core.query_options import OPTIONS
from kthink_core.settings import AccessSettings, Settings, WorkerSettings, from_environment
from kthink_core.store.completion import check_not_imported, is_finished
from kthink_core.store.reader import list_experiments
from kthink_core.store.repair import known_experiment
from kthink_core.worker.ports import check_free


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage over it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message[:300]}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for a user's mistake (one line on stderr), 1 for a
    worker that failed and may be started again, 130 for Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        check_text(given)
        options = _parser().parse_args(given)
        return options.run(options) or 0
    except WorkerFailed as error:
        return _complain(str(error), 1)
    except KthinkError as error:
        return _complain(str(error), 2)
    except ModuleNotFoundError as error:  # an installation that has the app only
        if (error.name or "kthink_core").startswith("kthink_core"):
            raise
        return _complain(f"this needs {error.name}, which is not installed here: run it where the worker is", 2)
    except KeyboardInterrupt:
        return _complain("stopped; what is finished is kept, the same command goes on from there", 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough, as in `… | head`
        sys.stderr.close()
    except OSError as error:  # a folder that may not be read or written, a name that no file can have
        return _complain(in_words(error), 2)
    return 0


def _complain(message: str, status: int) -> int:
    tell(" ".join(message.split()))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="kthink", description="Make a reasoning model's sparse features explorable.")
    parser.add_argument("--version", action="version", version=f"kthink {kthink_core.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_up(commands.add_parser("up", help="worker and app: precompute what is missing, serve it"))
    _add_worker(commands.add_parser("worker", help="answer live prompts, and precompute in the background"))
    _add_precompute(commands.add_parser("precompute", help="generate, encode and store an experiment"))
    _add_experiments(commands.add_parser("experiments", help="list the experiments"))
    _add_query(commands.add_parser("query", help="ask an experiment"))
    inject.add(commands.add_parser("inject", help="test whether features are more than their words"))
    steer_eval.add(commands.add_parser("steer-eval", help="what steering features does to the answers"))
    ablate.add(commands.add_parser("ablate", help="what becomes of a trace's later tokens without a feature?"))
    attribute.add(commands.add_parser("attribute", help="which features does a trace's answer depend on?"))
    sentences.add(commands.add_parser("sentences", help="which sentences of a thought does its answer depend on?"))
    sending.add(commands.add_parser("export", help="write an experiment into one file, or in Goodfire's layout"))
    receiving.add(commands.add_parser("import", help="make an experiment of a file that others exported"))
    labelling.add(commands.add_parser("labels", help="take labels of features in from files, write and find them"))
    shelving.add(commands.add_parser("lists", help="list, write and take in lists of features"))
    kept_list.add(commands.add_parser("kept", help="list the live runs that were kept, or delete one"))
    upgrading.add(commands.add_parser("migrate", help="bring what older versions left up to date, a backup first"))
    inviting.add_invite(commands.add_parser("invite", help="print a link that lets somebody in"))
    inviting.add_invitations(commands.add_parser("invitations", help="list those invited, or end an invitation"))
    tooling.add(commands.add_parser("mcp", help="queries and live encoding as tools of a language model (MCP)"))
    saving.add(commands.add_parser("save-view", help="write a view of the app into one HTML file"))
    auditing.add(commands.add_parser("audit", help="at which site of its layer was each SAE trained?"))
    train_sae.add(commands.add_parser("train-sae", help="train SAEs of a model on traces or texts"))
    reproduce.add(commands.add_parser("reproduce", help="check the article's figures with the real weights"))
    return parser


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    """A preset, or what an experiment of the cache was made with."""
    either = parser.add_mutually_exclusive_group()
    add_preset(either)
    either.add_argument(
        "--experiment", type=experiment_name, metavar="E", help="an experiment of the cache, instead of a preset"
    )


def _add_up(parser: argparse.ArgumentParser) -> None:
    _add_experiment(parser)
    parser.add_argument("--open", action="store_true", help="let in whoever reaches the app, on any address")
    add_cache(parser)
    parser.set_defaults(run=_up)


def _add_worker(parser: argparse.ArgumentParser) -> None:
    _add_experiment(parser)
    add_cache(parser)
    parser.add_argument("--host", metavar="HOST", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=whole_number, metavar="PORT", help="default: 8765")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.set_defaults(run=_worker)


def _add_precompute(parser: argparse.ArgumentParser) -> None:
    add_preset(parser)
    add_cache(parser)
    parser.add_argument(
        "--experiment", type=experiment_name, metavar="NAME", help="its name in the cache (default: the preset's)"
    )
    add_config(parser)
    own_traces.add(parser)
    steer.add(parser)
    parser.add_argument("--batch-size", type=whole_number, default=BATCH_SIZE, metavar="B")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.set_defaults(run=_precompute)


def _add_experiments(parser: argparse.ArgumentParser) -> None:
    add_cache(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.set_defaults(run=_experiments)


def _add_query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="QUERY", help=", ".join(QUERIES))
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    for name, option in OPTIONS.items():
        default = "generated" if name == "scope" else None
        told = option.told_shell or option.told
        parser.add_argument(f"--{name}", type=option.read, default=default, metavar=option.metavar, help=told)
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=_query)


def _experiment(options: argparse.Namespace) -> tuple[str, ExperimentConfig]:
    """The name and configuration that a worker has. Raises UnknownName, BadValue, ImportedExperiment."""
    cache, name = cache_of(options), options.experiment
    if name is None:
        check_not_imported(cache, options.preset)
        return options.preset, preset(options.preset)
    stored = known_experiment(cache, name)
    if stored is None:
        raise UnknownName("experiment", name, [status.name for status in list_experiments(cache) if status.experiment])
    check_not_imported(cache, name)
    if stored.open_ended:
        raise BadValue(f"experiment '{name}' holds what was kept of live prompts; name the one they were compared with")
    return name, stored.config


def _precompute(options: argparse.Namespace) -> None:
    """Make what the experiment lacks. A complete one is recognised without importing torch."""
    cache, name = cache_of(options), options.experiment or options.preset
    check_not_imported(cache, name)
    config = own_traces.as_written(steer.with_steering(own_traces.config_with_traces(options), options), cache)
    stored = known_experiment(cache, name) if options.instruction is None and config.mode == "bypass" else None
    if stored is not None and stored.config.mode == "bypass":  # older ones have no instruction in this mode
        config = config.model_copy(update={"instruction": stored.config.instruction})
    if is_finished(cache, name, config) and not is_outlived(cache, name, config):
        print(f"experiment '{name}' is complete in {cache}", file=sys.stderr)
        return
    from kthink_core.precompute.pipeline import plan, precompute
    from kthink_core.precompute.progress import TerminalProgress

    progress = TerminalProgress()
    try:
        ready = plan(name, config, options.device, progress, cache)
        steer.check_scale(options, ready.experiment)
        precompute(ready, cache, options.batch_size, progress, site_is_chosen=options.site is not None)
    finally:
        progress.close()


def _up(options: argparse.Namespace) -> int:
    from kthink_core.worker.supervisor import serve

    name, _ = _experiment(options)
    chosen = ("--experiment" if options.experiment else "--preset", name)
    settings = from_environment(Settings).model_copy(update={"cache": cache_of(options), "experiment": name})
    access = from_environment(AccessSettings, **({"open": True} if options.open else {}))
    check_app_exposure(settings.app_host, access)
    return serve(chosen, settings, with_token(from_environment(WorkerSettings)), access)


def _worker(options: argparse.Namespace) -> None:
    given = {name: value for name in ("host", "port") if (value := getattr(options, name)) is not None}
    settings = from_environment(WorkerSettings, **given)
    name, config = _experiment(options)
    settings = with_token(settings)
    check_worker_exposure(settings)
    check_free(settings.host, settings.port, "KTHINK_WORKER_PORT")
    from kthink_core.worker.http import run  # not before a mistake is told

    run(config, name, cache_of(options), options.device, settings)


def _experiments(options: argparse.Namespace) -> None:
    write_table(experiments_table(cache_of(options)), options.format, sys.stdout)


def _query(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in OPTIONS}
    table = query_table(cache_of(options), options.experiment, options.query, warn=tell, **given)
    write_table(table, options.format, sys.stdout)
