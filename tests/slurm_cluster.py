"""A real Slurm of one node for tests: private files, loopback only, no services of the system."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "scancel")

CONF = """
ClusterName=loop
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=2
JobRequeue=1
DefMemPerCPU=500
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if _find(name) is None]


@contextlib.contextmanager
def running(root: Path) -> Iterator[dict[str, str]]:
    """Start it in an empty folder; yields the environment in which its commands work."""
    for folder in ("state", "spool", "munge"):
        (root / folder).mkdir(parents=True)
    key = root / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    ports = {"controller_port": _free_port(), "node_port": _free_port()}
    conf = root / "slurm.conf"
    conf.write_text(CONF.format(root=root, user=user, **ports))
    try:
        # Forced, because the folders of tests are closed to other users, who need no access here.
        _start("munged", "--force", *_munge_options(root / "munge"))
        _start("slurmctld", "-f", str(conf))
        _start("slurmd", "-N", "localhost", "-f", str(conf))
        env = os.environ | {"SLURM_CONF": str(conf)}
        _wait_for_node(env, root)
        yield env
    finally:
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            _stop(root / file)


def _munge_options(folder: Path) -> list[str]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid"}
    files |= {"log-file": "log", "seed-file": "seed"}
    return [f"--{option}={folder / name}" for option, name in files.items()]


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


def _start(program: str, *options: str) -> None:
    found = _find(program)
    assert found is not None
    subprocess.run([found, *options], check=True, capture_output=True, timeout=20)


def _wait_for_node(env: dict[str, str], root: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = subprocess.run(
            ["srun", "-t", "1", "true"], env=env, capture_output=True, timeout=30, check=False
        )
        if answer.returncode == 0:
            return
        time.sleep(0.2)
    raise RuntimeError((root / "slurmctld.log").read_text()[-2000:])


def _stop(pid_file: Path) -> None:
    if pid_file.exists():
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
