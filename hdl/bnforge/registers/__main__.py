"""Write docs/registers.md and hdl/bnforge/driver/bnforge_registers.h: ``python -m bnforge.registers`` in the repository."""

from pathlib import Path

from .export import HEADER, c_header, markdown

for name, text in (("docs/registers.md", markdown()), (f"hdl/bnforge/driver/{HEADER}", c_header())):
    Path(name).write_bytes(text.encode())
    print(name)
