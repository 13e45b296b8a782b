"""The tables of a report, as text for a terminal and as Markdown."""

__all__ = ["figure_text", "variant_tables", "target_rows", "case_rows", "fpga_rows", "check_rows", "aligned",
           "markdown"]


def figure_text(report, variant, column):
    """A figure as a cell: "-" where it is not there."""
    figure, digits = report["variants"][variant]["figures"][column], report["columns"][column]["digits"]
    if figure["value"] is None:
        return "-"
    spread = f" ± {figure['spread']:.{digits}f}" if "spread" in figure else ""
    return f"{figure['value']:,.{digits}f}{spread}"


def variant_tables(report):
    """What the variants are as circuits, then what they do: each a title row and a row for each variant."""
    tables = []
    for circuit in (True, False):
        columns = {name: column for name, column in report["columns"].items() if column["circuit"] is circuit}
        rows = [["variant", *(f"{column['title']}, {column['unit']}" for column in columns.values())]]
        rows += [[name, *(figure_text(report, name, column) for column in columns)] for name in report["variants"]]
        tables.append(rows)
    return tables


def _value(target, value):
    if value is None:
        return "-"
    return {"share": f"{value:.1%}", "ratio": f"{value:.3f}×", "MHz": f"{value:.1f} MHz"}[target["unit"]]


def target_rows(report):
    """Title row, then a row for each target."""
    rows = [["the product", "against", "at least", "measured", ""]]
    for target in report["targets"]:
        verdict = {True: "met", False: "missed", None: ""}[target["met"]]
        rows.append([target["what"], target["against"], _value(target, target["at_least"]),
                     _value(target, target["value"]), verdict])
    return rows


def case_rows(report):
    """Title row, then the bytes per element of each variant and case, measured and analytic."""
    rows = [["variant", "tensor", "bus, bits", "forward", "analytic", "backward", "analytic", "sum", "strobed"]]
    for name, entry in report["variants"].items():
        for key, outcome in entry["stages"].items():
            if not key.startswith("traffic ") or "result" not in outcome:
                continue
            for row in outcome["result"]["rows"]:
                cells = [f"{row[direction][what]:.4f}" for direction in ("forward", "backward")
                         for what in ("bytes_per_element", "analytic")]
                sums = [f"{sum(row[direction][what] for direction in ('forward', 'backward')):.4f}"
                        for what in ("bytes_per_element", "strobed_bytes_per_element")]
                rows.append([name, "·".join(map(str, row["shape"][:3])), str(row["data_width"]), *cells, *sums])
    return rows


def fpga_rows(report):
    """Title row, then resources, clock and longest path of each build that was placed and routed."""
    rows = [["variant", "lanes", "grade", "LUT4", "flip-flops", "DSP", "block RAM", "MHz", "longest path", "ns"]]
    for name, entry in report["variants"].items():
        for key, outcome in entry["stages"].items():
            if key.startswith("fpga ") and "result" in outcome:
                found = outcome["result"]
                used = (f"{found[what]:,}" for what in ("speed", "luts", "ffs", "dsps", "brams"))
                rows.append([name, key.split()[1], *used,
                             f"{found['fmax_mhz']:.1f}", f"`{found['path_from']}` to `{found['path_to']}`",
                             f"{found['path_ns']:.2f}"])
    return rows


def check_rows(report):
    """Title row, then what was compared of the gates of each variant."""
    rows = [["variant", "lanes", "modules proved", "by simulation only", "gates proved", "of", "elements compared"]]
    for name, entry in report["variants"].items():
        for key, outcome in entry["stages"].items():
            if key.startswith("equivalence ") and "result" in outcome:
                found, lanes = outcome["result"], key.split()[1]
                gates = entry["stages"].get(f"gates {lanes}", {}).get("result")
                compared = sum(gates[direction]["compared"] for direction in ("forward", "backward")) if gates else None
                rows.append([name, lanes, str(found["verdicts"].get("equivalent", 0)), str(len(found["others"])),
                             f"{found['gates_proved']:,}", f"{found['gates']:,}",
                             "-" if compared is None else f"{compared:,}"])
    return rows


def aligned(rows):
    """Rows as text, the first column to the left and the others to the right; titles wrap at commas."""
    titles = [title.split(", ") for title in rows[0]]
    height = max(map(len, titles))
    head = [[title[line] if line < len(title) else "" for title in titles] for line in range(height)]
    body = [*head, *rows[1:]]
    widths = [max(len(row[index]) for row in body) for index in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) if not index else cell.rjust(width)
                               for index, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in body)


def markdown(rows):
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
