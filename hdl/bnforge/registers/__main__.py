"""``python -m bnforge.registers`` in the repository: docs/registers.md and the C header of the driver made anew."""

from pathlib import Path

from .export import HEADER, c_header, markdown

for name, text in (("docs/registers.md", markdown()), (f"hdl/bnforge/driver/{HEADER}", c_header())):
    Path(name).write_bytes(text.encode())
    print(name)
