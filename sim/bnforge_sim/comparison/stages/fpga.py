"""Resources and maximum clock of a core on ECP5, placed and routed out of context."""

from dataclasses import asdict

from bnforge.flows.fpga import fpga

__all__ = ["run"]


def run(config, speed, seed):
    """What :func:`bnforge.flows.fpga.fpga` says, without the seconds.

    Parameters
    ----------
    config : Config
    speed : int
        Speed grade.
    seed : int
        Of the placement.
    """
    return {name: value for name, value in asdict(fpga(config, speed=speed, seed=seed)).items() if name != "seconds"}
