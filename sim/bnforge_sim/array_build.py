"""Compiles an array and its bench into one shared library with Verilator, once per design."""

from bnforge.streams import whole_bytes

from .build import DEFAULT_CACHE, BenchKind, build_design

__all__ = ["build_array"]

ARRAY_BENCH = BenchKind(("array.cpp", "array.h", "engine.h", "engine_memory.h", "engine_monitor.h", "design.h",
                         "verilated_design.h"), "array_core.cpp", "bench.so", ("-shared",))


def build_array(config, verilog, *, cache=DEFAULT_CACHE, waves=False, optimise=True):
    """The bench library of one array.

    Parameters
    ----------
    config : bnforge.array_config.ArrayConfig
        The configuration that ``verilog`` was made from.
    verilog : str
        SystemVerilog text with the top module ``config.name``.
    cache, waves, optimise : as :func:`.engine_build.build_engine`

    Returns
    -------
    pathlib.Path

    Raises
    ------
    bnforge_sim.build.BuildError
    """
    defines = [f"-DC_BITS={whole_bytes(config.columns * config.output.width)}",
               f"-DTRANSPOSES={int(config.transposes)}"]
    for port, elements in (("A", config.rows), ("W", config.columns)):
        user = config.n_groups(elements) * config.storage.exponent_width if config.is_block else 0
        defines += [f"-D{port}_BITS={whole_bytes(elements * config.element_width)}", f"-D{port}_USER_BITS={user}"]
    return build_design(ARRAY_BENCH, config.name, verilog, defines, cache=cache, waves=waves, optimise=optimise)
