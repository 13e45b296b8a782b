"""Everything for one core: generate it, run real activations through it, count its gates, print one table."""

import time
from pathlib import Path

from . import area, emit

__all__ = ["run"]


def _digits_tiles(config, n_images):
    """Activations of a convolution over the digits images as a forward tile, its gradient as a backward one.

    Returns
    -------
    tiles : list
        Of the directions that are built.
    what : str
    """
    from bnforge_sim.digits import digits_backward_tile, digits_tile
    tile = digits_tile(config, n_images)
    tiles, what = [], []
    if config.has_forward:
        tiles.append(tile)
        what.append("forward")
    if config.has_backward:
        tiles.append(digits_backward_tile(config, tile))
        what.append("backward with a classifier's gradient")
    return tiles, ", then ".join(what)


def run(config, directory, n_images=1024):
    """Write core and area report below ``directory``, simulate both directions, print the table.

    Parameters
    ----------
    config : Config
    directory : path
        Files go to ``DIR/NAME/``, compiled simulations to ``DIR/verilator/``.
    n_images : int
        Digits images that are sent through the core, 64 elements of every channel each.

    Returns
    -------
    int
        0, or 1 when Verilog and model differ.
    """
    from bnforge_sim import Simulator, compare
    directory = Path(directory)
    output = directory / config.name
    files = emit.generate(config, output)
    simulator = Simulator(config, verilog=files[0].read_text(encoding="utf-8"), cache=directory / "verilator")
    tiles, what = _digits_tiles(config, n_images)
    beats = sum(len(tile.beats) for tile in tiles)
    started = time.perf_counter()
    outcome = simulator.run(tiles)
    seconds = time.perf_counter() - started
    result = compare(config, tiles, outcome)
    gates = area.report(config)
    gates.write(output / "area.json")
    (output / "area.txt").write_text(area.table(gates) + "\n", encoding="utf-8")

    verdict = "bit-exact" if not result.mismatches else f"{result.mismatches} MISMATCHES"
    storage = f"blocks of {config.storage}" if config.is_block else f"float {config.storage}"
    rows = [
        ("core", f"{config.name}: {config.lanes} lanes, x {config.x_format}, y and dx {storage}, "
                 f"S = {config.sample_depth}, L = {config.chunk_len}"),
        ("Verilog", f"{files[0]} ({files[0].read_text(encoding='utf-8').count(chr(10))} lines)"),
        ("with it", ", ".join(path.name for path in files[1:])),
        ("real input", f"{n_images} digits images, 3x3 convolution: {beats} beats, {result.elements} elements"),
        ("tiles", what),
        ("against the model", f"{verdict} (elements, exponents, records, flags)"),
        ("cycles", f"{outcome.cycles}, {outcome.cycles - beats} more than beats"),
        ("simulation", f"{result.elements / seconds:.3g} elements/s"),
        ("gates", f"{gates.ge:.0f} GE ({gates.library['name']} library), {gates.ge_per_lane:.0f} per lane, "
                  f"{gates.lane_ge:.0f} of them in the lane"),
        ("storage", f"{gates.flip_flops} flip-flops, {gates.memory_bits} memory bits"),
        ("longest path", f"{gates.levels} cells"),
        ("area report", f"{output / 'area.txt'}, area.json"),
    ]
    width = max(len(what) for what, _text in rows)
    line = "-" * (width + 2 + max(len(text) for _what, text in rows))
    print("\n".join([line, *(f"{what:<{width}}  {text}" for what, text in rows), line]))
    for message in result.messages:
        print(message)
    return 1 if result.mismatches else 0
