"""Runs tasks, each in a process of its own, some at a time."""

import multiprocessing
import os
import signal
import time
from multiprocessing import connection

from .tasks import outcome

__all__ = ["run_tasks", "clock"]


def clock(seconds):
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _child(task, cache, sender):
    os.setpgrp()  # the parent alone hears Ctrl-C, and ends this group
    sender.send(outcome(task, cache))
    sender.close()


def _describe(done):
    if "result" in done:
        return f"{done['seconds']:.0f} s"
    (what, why), = done.items()
    return f"{what}: {why}"


def _end(processes):
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            process.terminate()
        process.join()


def run_tasks(tasks, cache, *, jobs=2, report=print):
    """The outcomes of tasks in their order, as :func:`.outcome` has them; what is kept is not computed again.

    Parameters
    ----------
    tasks : sequence of Task
    cache : Cache
    jobs : int
        Processes at a time.
    report : function of one line of text
        Called when a task is done.

    Raises
    ------
    KeyboardInterrupt
        The running processes are ended; what is done is kept.
    """
    started, outcomes = time.perf_counter(), {task.name: task.cached(cache) for task in tasks}
    waiting = sorted((task for task in tasks if outcomes[task.name] is None),
                     key=lambda task: (task.stage.seconds, task.config.lanes))
    n_done = len(tasks) - len(waiting)
    if n_done:
        report(f"[{n_done}/{len(tasks)}] kept from earlier runs")
    context, running = multiprocessing.get_context("fork"), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(waiting[-1], cache, sender))
                process.start()
                sender.close()
                running[receiver] = process, waiting.pop()
            for receiver in connection.wait(list(running)):
                process, task = running[receiver]
                try:
                    done = receiver.recv()
                except EOFError:
                    process.join()
                    done = {"failed": f"the process ended with status {process.exitcode}"}
                process.join()
                receiver.close()
                del running[receiver]
                outcomes[task.name], n_done = done, n_done + 1
                report(f"[{n_done}/{len(tasks)}] {clock(time.perf_counter() - started)}  {task.variant}, "
                       f"{task.stage.text}, {task.config.lanes} lanes: {_describe(done)}")
    finally:
        _end([process for process, _ in running.values()])
    return outcomes
