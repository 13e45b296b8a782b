"""Compiles the C driver; as a command, tells how large it is: ``python -m bnforge_sim.driver_size [compiler]``."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import bnforge

__all__ = ["DRIVER", "WARNINGS", "compile_driver", "driver_size"]

DRIVER = Path(bnforge.__file__).parent / "driver"
"""The folder of its sources."""
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
"""Flags that it compiles with."""
_SMALL = ("-ffreestanding", "-Os", "-c")
_TARGETS = {"x86-64": ("gcc",), "ARM Cortex-M4": ("arm-none-eabi-gcc", "-mcpu=cortex-m4"),
            "RISC-V 32": ("riscv64-unknown-elf-gcc", "-march=rv32imac", "-mabi=ilp32")}


def compile_driver(output, *flags, compiler=("gcc",)):
    """Compile the driver into the file ``output``.

    Raises
    ------
    subprocess.CalledProcessError
        For the least warning.
    """
    subprocess.run([*compiler, *WARNINGS, *flags, str(DRIVER / "bnforge.c"), "-o", str(output)], check=True)


def driver_size(compiler=("gcc",)):
    """Bytes of code and constants, of data, and of zeroed data: the ``text``, ``data``, ``bss`` of ``size``.

    Parameters
    ----------
    compiler : sequence of str
        Command and flags; "size" of the same tools is used.

    Returns
    -------
    tuple of three int
    """
    with tempfile.TemporaryDirectory(prefix="bnforge-") as directory:
        output = Path(directory) / "driver.o"
        compile_driver(output, *_SMALL, compiler=compiler)
        tool = re.sub(r"gcc$", "size", compiler[0])
        listed = subprocess.run([tool, str(output)], check=True, capture_output=True, text=True).stdout
    return tuple(int(number) for number in listed.splitlines()[1].split()[:3])


def main(arguments):
    """One line for each compiler that there is, or for the one given."""
    targets = {" ".join(arguments): arguments} if arguments else _TARGETS
    for name, compiler in targets.items():
        try:
            print("{}: {} bytes of code, {} of data, {} of zeroed data".format(name, *driver_size(compiler)))
        except FileNotFoundError:
            print(f"{name}: no {compiler[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
