"""Compiles an engine and its bench into one shared library with Verilator, once per design."""

from .build import DEFAULT_CACHE, BenchKind, build_design

__all__ = ["build_engine"]

ENGINE_BENCH = BenchKind(("engine.cpp", "engine.h", "engine_memory.h", "engine_monitor.h", "design.h",
                          "verilated_design.h"), "engine_core.cpp", "bench.so", ("-shared",))


def build_engine(config, verilog, *, cache=DEFAULT_CACHE, waves=False, optimise=True):
    """The bench library of one engine.

    Parameters
    ----------
    config : bnforge.engine_config.EngineConfig
        The configuration that ``verilog`` was made from.
    verilog : str
        SystemVerilog text with the top module ``config.name``.
    cache : path
        Directory that keeps one subdirectory per design, named by a hash of all that goes in.
    waves : bool
        Whether the library can write a VCD file (slower).
    optimise : bool
        Whether to compile for speed of the simulation; otherwise it is built in two thirds of the time.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    bnforge_sim.build.BuildError
    """
    defines = [f"-DDATA_BITS={config.bus.data_width}", f"-DADDRESS_BITS={config.bus.address_width}"]
    return build_design(ENGINE_BENCH, config.name, verilog, defines, cache=cache, waves=waves,
                        optimise=optimise)
