"""Workers: the same answers from threads and processes, and an end with nothing left behind."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from processes import started

from torchreid_magnifier.annotate import ParsingError
from torchreid_magnifier.workers import WorkerError, Workers


def make_work():
    def work(batch):
        if batch == ["die"]:
            os._exit(9)
        if batch[0] == "wait":
            Path(batch[1]).write_text(str(os.getpid()))
            time.sleep(600)
        return [*batch, os.getpid(), torch.get_num_threads()]

    return work


BATCHES = [[str(number)] for number in range(20)]


def test_threads_answer_in_order():
    barrier = threading.Barrier(3, timeout=60)

    def together():  # three at once, or the barrier breaks
        return lambda batch: (barrier.wait(), batch)[1]

    with Workers(together, 3, processes=False) as workers:
        assert list(workers.map(BATCHES[:18])) == BATCHES[:18]


def test_an_error_of_the_work_is_passed_on():
    def fails(batch):
        raise ParsingError("no weights")

    with (
        Workers(lambda: fails, 2, processes=False) as workers,
        pytest.raises(ParsingError, match="no weights"),
    ):
        list(workers.map(BATCHES))


def test_processes_answer_in_order_and_one_that_ends_is_reported():
    with Workers(make_work, 2, processes=True) as workers:
        answers = list(workers.map(BATCHES))
        assert [answer[0] for answer in answers] == [name for [name] in BATCHES]
        assert os.getpid() not in {pid for _, pid, _ in answers}
        assert {threads for *_, threads in answers} == {1}
        with pytest.raises(WorkerError) as error:
            list(workers.map([["die"]]))
    assert str(error.value) == (
        "one of 2 processes ended suddenly, perhaps for want of memory: the same command goes on "
        "from here; give it fewer --workers or a smaller --batch-size"
    )


def wait_in_a_worker(pid: Path, printed: Path) -> int:
    os.setsid()  # a group of its own, as a shell makes it
    sys.stdout = sys.stderr = open(printed, "w", buffering=1)
    for number in (1, 2):
        os.dup2(sys.stdout.fileno(), number)
    try:
        with Workers(make_work, 1, processes=True) as workers:
            list(workers.map([["wait", pid]]))
    except KeyboardInterrupt:
        return 130
    return 0


@pytest.mark.skipif(os.name != "posix", reason="signals to a group of processes")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_processes_end_with_their_parent(number, status, tmp_path):
    pid, printed = tmp_path / "pid", tmp_path / "printed"
    parent = started(wait_in_a_worker, pid, printed, PYTHONWARNINGS="ignore")
    while not (pid.exists() and pid.read_text()):
        assert parent.is_alive()
        time.sleep(0.01)
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)  # as a terminal does
    else:
        parent.kill()
    parent.join(60)
    assert parent.exitcode == status
    with pytest.raises(ProcessLookupError):
        for _ in range(600):  # it is gone as soon as somebody has taken note
            os.kill(int(pid.read_text()), 0)
            time.sleep(0.1)
    assert printed.read_text() == ""
