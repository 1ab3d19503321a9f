"""Regenerates the figures of one paper and checks their claims."""

import argparse
import dataclasses
import importlib
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import equinox
import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import recovery
from experiments import maps
from experiments.claims import Claim
from recovery import program_cache

ROOT = Path(__file__).parents[1]


def main(paper: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command line of one paper's script; the exit status is 1 if a claim failed."""
    figures = find_figures(paper)
    options = _parse(paper, figures, arguments)
    set_up()
    found = {
        name: make_figure(
            paper,
            name,
            full=options.full,
            out=options.out,
            redraw=options.redraw,
            store=options.store,
        )
        for name in tqdm(options.only or figures, desc=paper, unit="figure", disable=None)
    }
    return report(found, options.out, complete=not options.only)


def set_up() -> None:
    """What a process needs before it makes figures."""
    # Errors down to 1e-24 are drawn and fitted.
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    matplotlib.use("agg")


def report(found: dict[str, tuple[list[Claim], float]], out: Path, *, complete: bool) -> int:
    """Print the claims and seconds of figures, write those of a whole paper; the exit status."""
    rows = [(name, claim, seconds) for name, (claims, seconds) in found.items() for claim in claims]
    tqdm.write(format_table(rows))
    if complete:
        (out / "claims.md").write_text(_markdown(rows))
    failed = sum(not claim.holds for _, claim, _ in rows)
    tqdm.write(f"\n{len(rows)} claims, {failed} failed. Figures are in {out}.")
    return min(failed, 1)


def folder(paper: str, *, full: bool) -> Path:
    """Quick pictures never replace the full ones that README shows."""
    return ROOT / "figures" / paper / ("." if full else "quick")


def find_figures(paper: str) -> list[str]:
    """Every file of the paper's folder that does not start with an underscore."""
    return sorted(path.stem for path in (ROOT / "experiments" / paper).glob("[!_]*.py"))


def load(paper: str, name: str) -> ModuleType:
    return importlib.import_module(f"experiments.{paper}.{name}")


def make_figure(
    paper: str,
    name: str,
    *,
    full: bool,
    out: Path,
    redraw: bool = False,
    store: Path | None = None,
) -> tuple[list[Claim], float]:
    """Compute, check, draw and save one figure; returns its claims and the seconds it took.

    With `redraw` the data of an earlier run are taken instead of computing them; with `store` what
    it sweeps is kept there, for a run that continues this one.
    """
    module = load(paper, name)
    config = module.FULL if full else module.QUICK
    began = time.perf_counter()
    with maps.kept_in(store / name if store else None):
        data = _load_data(out / f"{name}.npz") if redraw else module.compute(config)
    data = {key: np.asarray(value) for key, value in data.items()}
    claims = module.check(data, config)
    figure = module.draw(data)
    seconds = time.perf_counter() - began
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / f"{name}.npz", allow_pickle=False, **data)
    # No software version and no date: the same numbers give the same file.
    figure.savefig(out / f"{name}.png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    record = out / f"{name}.json"
    provenance = _provenance(paper, module, config, claims)
    if redraw:  # versions and device stay those that computed the data
        kept = json.loads(record.read_text())
        provenance = kept | {key: provenance[key] for key in ("caption", "claims")}
    record.write_text(json.dumps(provenance, indent=1))
    return claims, seconds


def _load_data(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise SystemExit(f"{path} does not exist: run once without --redraw.")
    with np.load(path) as data:
        return dict(data)


def format_table(rows: list[tuple[str, Claim, float]]) -> str:
    header = ("figure", "claim", "expected", "measured", "verdict", "s")
    cells = [
        (name, c.statement, c.expected, c.measured, "ok" if c.holds else "FAILED", f"{seconds:.1f}")
        for name, c, seconds in rows
    ]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [header, tuple("-" * w for w in widths), *cells]
    ]
    return "\n".join(lines)


def _markdown(rows: list[tuple[str, Claim, float]]) -> str:
    """The table without its times, so that the same numbers give the same file."""
    lines = ["| figure | claim | expected | measured | verdict |", "|---|---|---|---|---|"]
    for name, claim, _ in rows:
        verdict = "ok" if claim.holds else "FAILED"
        cells = (name, claim.statement, claim.expected, claim.measured, verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _provenance(paper: str, module: ModuleType, config: object, claims: list[Claim]) -> dict:
    device = jax.devices()[0]
    return {
        "caption": " ".join(module.CAPTION.split()),
        "seeds": load(paper, "_setting").SEEDS,
        "config": dataclasses.asdict(config),  # pyright: ignore[reportArgumentType]
        "claims": [claim._asdict() for claim in claims],
        "versions": {
            "recovery": recovery.__version__,
            "jax": jax.__version__,
            "equinox": equinox.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": f"{device.platform}: {device.device_kind}",
        "x64": jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
    }


def _parse(paper: str, figures: list[str], arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Regenerate the figures of {paper}.")
    parser.add_argument(
        "--only", action="append", choices=figures, help="one figure; may be repeated"
    )
    parser.add_argument("--full", action="store_true", help="full sizes instead of quick ones")
    parser.add_argument(
        "--redraw", action="store_true", help="draw the data of an earlier run, computing nothing"
    )
    parser.add_argument("--out", type=Path, help="folder for images, data and provenance")
    parser.add_argument(
        "--store", type=Path, help="keep sweeps in this folder, and continue those it holds"
    )
    options = parser.parse_args(arguments)
    if options.out is None:
        options.out = folder(paper, full=options.full)
    return options


if __name__ == "__main__":
    sys.exit("run one of the scripts in paper_repro/")
