"""The commands of `python -m recovery.sweeps`."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from recovery import program_cache
from recovery.sweeps import cluster
from recovery.sweeps.batches import Batch
from recovery.sweeps.collected import collect
from recovery.sweeps.errors import StoreError, StudyError
from recovery.sweeps.run import Tally, run, share, tally
from recovery.sweeps.slurm import Array, submit
from recovery.sweeps.store import Store, open_store
from recovery.sweeps.study_file import read_study

_LISTED = 10
_NO_VERSION = {".png": {"Software": None}, ".pdf": {"Creator": None, "Producer": None}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 if cells failed or are missing, 2 for wrong use, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (StudyError, StoreError, OSError) as error:
        print(f"recovery.sweeps: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped. Finished batches are safe: run again for the rest.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    program_cache.enable()
    study = read_study(options.study, quick=options.quick)
    with _workers(options) as executor:
        counted = run(
            study,
            options.store,
            jobs=options.jobs,
            shard=options.shard,
            executor=executor,
            retry_failed=options.retry_failed,
        )
    store = Store(options.store)
    return _report(counted, store, share(store.batches(), options.shard))


def _workers(options: argparse.Namespace) -> AbstractContextManager:
    if options.scheduler and options.cluster:
        raise StudyError("--scheduler and --cluster were given: leave one out.")
    if options.scheduler:
        return cluster.scheduler(options.scheduler)
    return cluster.cluster(options.cluster) if options.cluster else nullcontext(None)


def _report(counted: Tally, store: Store, batches: list[Batch]) -> int:
    print(
        f"{counted.total} cells: {counted.finished} finished, {counted.failed} failed, "
        f"{counted.missing} missing"
    )
    if counted.failed:
        _list_failures(store, batches)
    return int(counted.failed + counted.missing > 0)


def _list_failures(store: Store, batches: list[Batch]) -> None:
    _, failed = store.parts()
    parts = [store.read(batch.key) for batch in batches if batch.key in failed]
    failures = [failure for part in parts for failure in part.failures()]
    for failure in failures[:_LISTED]:
        cell = ", ".join(f"{axis} = {value}" for axis, value in failure.cell.items())
        print(f"  {failure.status}: {cell} {failure.message}".rstrip())
    if len(failures) > _LISTED:
        print(f"  and {len(failures) - _LISTED} more: collect to .csv for all of them")
    print("  --retry-failed computes their batches again")


def _status(options: argparse.Namespace) -> int:
    store = Store(options.store)
    print(store.study.reference.identity)
    for axis, values in store.grids()[-1].items():
        shown = ", ".join(map(str, values[:8])) + (", .." if len(values) > 8 else "")
        print(f"  {axis}: {shown} ({len(values)})")
    finished, _ = store.parts()
    versions = {store.origin(key).get("source") for key in finished}
    if len(versions) > 1:
        print(f"  computed by {len(versions)} versions of the file that holds the function")
    return _report(tally(store), store, store.batches())


def _collect(options: argparse.Namespace) -> int:
    found = collect(options.store)
    found.write(options.out)
    print(f"{options.out}: {', '.join(found.values)} on {' x '.join(found.axes)}")
    return 0


def _plot(options: argparse.Namespace) -> int:
    from recovery.sweeps import drawing

    chosen = dict(text.partition("=")[::2] for text in options.select)
    found = drawing.select(collect(options.store), chosen)
    if (options.below is None) != (options.y is None):
        raise StudyError("a map needs --x AXIS, --y AXIS and --below NUMBER; curves need no --y.")
    if options.below is not None:
        if options.x is None or options.lines:
            raise StudyError("a map needs --x AXIS, and has --panels but no --lines.")
        figure = drawing.success_maps(
            found, options.value, options.x, options.y, below=options.below, panels=options.panels
        )
    else:
        figure = drawing.curves(
            found,
            options.value,
            options.x,
            lines=options.lines,
            panels=options.panels,
            scale=options.scale,
        )
    if options.out.suffix[1:] not in figure.canvas.get_supported_filetypes():
        raise StudyError(f"{options.out} must end in .png, .pdf or .svg.")
    # No software version: the same numbers give the same file.
    figure.savefig(options.out, dpi=150, metadata=_NO_VERSION.get(options.out.suffix))
    print(options.out)
    return 0


def _slurm(options: argparse.Namespace) -> int:
    study = read_study(options.study, quick=options.quick)
    study.check_function()
    open_store(study, options.store)  # whatever is wrong is said now, not by every task
    array = Array(
        options.tasks,
        options.time,
        options.cpus,
        options.memory,
        options.gpus,
        tuple(options.option),
    )
    script = array.script(Path(options.study), options.store, quick=options.quick)
    print(script)
    if not options.print_only:
        print(submit(script))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recovery.sweeps", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(command=function)
        return command

    running = add("run", _run, "compute what the store lacks")
    _add_study(running)
    running.add_argument("--jobs", type=int, default=1, help="processes of this machine")
    running.add_argument("--shard", metavar="k/K", help="one of K shares, for a job array")
    running.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler")
    running.add_argument("--cluster", metavar="FILE.toml", help="start a Dask cluster")
    running.add_argument("--retry-failed", action="store_true", help="failed cells too")

    looking = add("status", _status, "count finished, failed and missing cells")
    looking.add_argument("--store", type=Path, required=True)

    collecting = add("collect", _collect, "all results in one file")
    collecting.add_argument("--store", type=Path, required=True)
    collecting.add_argument("--out", type=Path, required=True, help=".zarr, .nc, .npz or .csv")

    plotting = add("plot", _plot, "a map of success (--below), or curves with quantile bands")
    plotting.add_argument("--store", type=Path, required=True)
    plotting.add_argument("--out", type=Path, required=True)
    plotting.add_argument("--value", required=True, help="a result")
    plotting.add_argument("--x", metavar="AXIS", help="left out for a trace")
    plotting.add_argument("--y", metavar="AXIS", help="of a map")
    plotting.add_argument("--below", type=float, help="what counts as success")
    plotting.add_argument("--lines", nargs="*", action="extend", default=[], metavar="AXIS")
    plotting.add_argument("--panels", nargs="*", action="extend", default=[], metavar="AXIS")
    plotting.add_argument("--select", nargs="*", action="extend", default=[], metavar="AXIS=VALUE")
    plotting.add_argument("--scale", nargs=2, default=["linear", "log"], choices=["linear", "log"])

    submitting = add("slurm", _slurm, "print and submit a job array")
    _add_study(submitting)
    submitting.add_argument("--tasks", type=int, required=True, help="of the array")
    submitting.add_argument("--time", default="01:00:00", help="limit of a task")
    submitting.add_argument("--cpus", type=int, default=1, help="cores of a task")
    submitting.add_argument("--memory", default="4G", help="of a task")
    submitting.add_argument("--gpus", type=int, default=0, help="of a task")
    submitting.add_argument(
        "--option", action="append", default=[], help="more for sbatch: --option=--partition=short"
    )
    submitting.add_argument("--print-only", action="store_true", help="do not submit")
    return parser


def _add_study(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", type=Path, metavar="STUDY.toml")
    command.add_argument("--store", type=Path, required=True, help="folder of the results")
    command.add_argument("--quick", action="store_true", help="with the study's table [quick]")
