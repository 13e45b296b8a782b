"""Clock generators of FPGA families: one output of a whole ratio to the input."""

from dataclasses import dataclass

from amaranth.hdl import Instance, Signal

__all__ = ["Ecp5Pll", "Xilinx7Pll", "ecp5_pll", "xilinx7_pll"]


@dataclass(frozen=True)
class Ecp5Pll:
    """EHXPLLL with feedback from its output (Lattice FPGA-TN-02200, General Purpose PLL).

    f_out = f_in feedback / input. The oscillator runs at f_out · output, 400 to 800 MHz; the phase detector at
    f_in / input, 3.125 to 400 MHz.
    """

    input: int
    feedback: int
    output: int

    def add(self, m, clock, output):
        """Add it to a module; returns the lock signal."""
        locked = Signal(name="pll_locked")
        m.submodules.pll = Instance(
            "EHXPLLL", p_CLKI_DIV=self.input, p_CLKFB_DIV=self.feedback, p_CLKOP_DIV=self.output,
            p_FEEDBK_PATH="CLKOP", p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=self.output // 2, p_CLKOP_FPHASE=0,
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", i_CLKI=clock, i_CLKFB=output, i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0,
            i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0, o_CLKOP=output, o_LOCK=locked)
        return locked


def ecp5_pll(in_hz, out_hz):
    """:class:`Ecp5Pll` for exactly ``out_hz``, with the oscillator as near to 600 MHz as can be.

    Raises
    ------
    ValueError
        When there is none.
    """
    found = [Ecp5Pll(divider, feedback, output) for divider in range(1, 129) for feedback in range(1, 81)
             if in_hz * feedback == out_hz * divider and in_hz / divider >= 3.125e6
             for output in range(1, 129) if 400e6 <= out_hz * output <= 800e6]
    if not found:
        raise ValueError(f"clock_hz must be one that the PLL makes of {in_hz} Hz, not {out_hz}")
    return min(found, key=lambda pll: (pll.input, abs(out_hz * pll.output - 600e6)))


@dataclass(frozen=True)
class Xilinx7Pll:
    """PLLE2_BASE (AMD UG472, 7 Series Clocking): f_out = f_in multiply / divide / output.

    The oscillator runs at f_in multiply / divide, 800 to 1600 MHz.
    """

    multiply: int
    divide: int
    output: int
    period_ns: float

    def add(self, m, clock, output):
        """Add it to a module, with a global buffer behind; returns the lock signal."""
        locked, feedback, raw = Signal(name="pll_locked"), Signal(name="pll_feedback"), Signal(name="pll_output")
        m.submodules.pll = Instance(
            "PLLE2_BASE", p_CLKIN1_PERIOD=self.period_ns, p_CLKFBOUT_MULT=self.multiply, p_DIVCLK_DIVIDE=self.divide,
            p_CLKOUT0_DIVIDE=self.output, i_CLKIN1=clock, i_CLKFBIN=feedback, i_RST=0, i_PWRDWN=0,
            o_CLKFBOUT=feedback, o_CLKOUT0=raw, o_LOCKED=locked)
        m.submodules.pll_buffer = Instance("BUFG", i_I=raw, o_O=output)
        return locked


def xilinx7_pll(in_hz, out_hz):
    """:class:`Xilinx7Pll` for exactly ``out_hz``.

    Raises
    ------
    ValueError
        When there is none.
    """
    for divide in range(1, 57):
        for multiply in range(2, 65):
            oscillator = in_hz * multiply / divide
            if 800e6 <= oscillator <= 1600e6 and oscillator % out_hz == 0 and oscillator // out_hz <= 128:
                return Xilinx7Pll(multiply, divide, int(oscillator // out_hz), 1e9 / in_hz)
    raise ValueError(f"clock_hz must be one that the PLL makes of {in_hz} Hz, not {out_hz}")
