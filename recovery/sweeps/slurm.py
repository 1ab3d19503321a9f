"""A job array of Slurm that runs a study."""

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from recovery.sweeps.errors import StudyError


@dataclass(frozen=True)
class Array:
    """What each task of a job array asks for.

    Args:
        tasks: of the array; the study is cut into as many shares.
        time: limit of a task, as Slurm writes it: "01:00:00".
        cpus: cores of a task.
        memory: of a task, "4G".
        gpus: of a task; Slurm shows it only these.
        extra: more options of sbatch, such as "--partition=short".
    """

    tasks: int
    time: str = "01:00:00"
    cpus: int = 1
    memory: str = "4G"
    gpus: int = 0
    extra: tuple[str, ...] = ()

    def __post_init__(self):
        for name, low in (("tasks", 1), ("cpus", 1), ("gpus", 0)):
            if getattr(self, name) < low:
                raise StudyError(f"{name} is {getattr(self, name)}, but at least {low} is needed.")

    def script(self, study: Path, store: Path, *, quick: bool = False) -> str:
        """The script of the array, for `sbatch`."""
        options = [
            f"--job-name={shlex.quote(study.stem)}",
            f"--array=1-{self.tasks}",
            f"--time={self.time}",
            f"--cpus-per-task={self.cpus}",
            f"--mem={self.memory}",
            *([f"--gpus-per-task={self.gpus}", "--ntasks=1"] if self.gpus else []),
            "--requeue",
            "--open-mode=append",
            f"--output={shlex.quote(f'{store.resolve()}/slurm-%A_%a.log')}",
            # A minute before its time is up a task goes back to the queue.
            "--signal=B:USR1@60",
            *self.extra,
        ]
        command = [sys.executable, "-m", "recovery.sweeps", "run", str(study.resolve())]
        command += ["--store", str(store.resolve()), *(["--quick"] if quick else [])]
        return "\n".join(
            [
                "#!/bin/bash",
                *(f"#SBATCH {option}" for option in options),
                "# As many threads as Slurm gives cores.",
                "export NPROC=$SLURM_CPUS_PER_TASK",
                f"{shlex.join(command)} --shard $SLURM_ARRAY_TASK_ID/{self.tasks} &",
                "work=$! task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID",
                "# A script that ended by itself would not go back to the queue.",
                "trap 'kill $work; scontrol requeue $task; sleep 60' USR1",
                "wait $work",
                "",
            ]
        )


def submit(script: str) -> str:
    """Hand a script to sbatch; returns what it answered."""
    if shutil.which("sbatch") is None:
        raise StudyError("sbatch is not found: run this where jobs are submitted, or --print-only.")
    answer = subprocess.run(["sbatch"], input=script, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise StudyError(f"sbatch refused the job: {answer.stderr.strip()}")
    return answer.stdout.strip()
