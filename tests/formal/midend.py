"""Transfer descriptors: that they are the rows which docs/engine.md says."""

from unittest.mock import patch

from amaranth.hdl import Cat, Mux, Signal
from bnforge.dma import Midend, midend
from bnforge.engine_config import DESCRIPTOR_WORDS, DIMENSIONS

from .runner import assume, check
from .units import Specification, state_of, stream_held

__all__ = ["MidendContract"]


class MidendContract(Specification):
    """Row (i1, i2, i3) of a descriptor begins at address + i1·s1 + i2·s2 + i3·s3, i1 running fastest; there are
    n1·n2·n3 of them, and the last one carries the end of the tile. They come after the latency that is documented.

    Counts are those of checked descriptors: not 0, and in range. ``count_width`` replaces ``COUNT_WIDTH``.
    """

    def __init__(self, bus, count_width=2):
        self.count_width = count_width
        super().__init__(Midend(bus))

    def elaborate(self, platform):
        with patch.object(midend, "COUNT_WIDTH", self.count_width):
            return super().elaborate(platform)

    def specify(self, m):
        unit, width = self.unit, self.unit.bus.address_width
        word, running = Signal(range(DESCRIPTOR_WORDS)), Signal(name="in_rows")
        words = [Signal(32, name=f"word{number}") for number in range(DESCRIPTOR_WORDS)]
        taken, moved = unit.i.valid & unit.i.ready, unit.o.valid & unit.o.ready
        for number, item in enumerate(words):
            with m.If(taken & (word == number)):
                m.d.sync += item.eq(unit.i.payload)
        assume(m, *(~(taken & (word == 4 + 2 * k)) | ((unit.i.payload != 0) & (unit.i.payload < 1 << self.count_width))
                    for k in range(DIMENSIONS)))
        counts = [words[4 + 2 * k][:self.count_width] for k in range(DIMENSIONS)]
        strides = [words[5 + 2 * k][:width] for k in range(DIMENSIONS)]
        index = [Signal(self.count_width, name=f"i{k}") for k in range(DIMENSIONS)]
        final = [item + 1 == n for item, n in zip(index, counts)]
        last = Cat(final).all()
        full = taken & (word == DESCRIPTOR_WORDS - 1)
        m.d.sync += [word.eq(Mux(full, 0, word + taken)), running.eq(Mux(running, ~(moved & last), full))]
        inner = True
        for item, ends in zip(index, final):
            with m.If(moved & inner):
                m.d.sync += item.eq(Mux(ends, 0, item + 1))
            inner = inner & ends
        products = [(item * stride)[:width] for item, stride in zip(index, strides)]
        places = [(words[0] + sum(products[k:]))[:width] for k in range(DIMENSIONS)]  # without those inside of k

        # Since the last word, or the last row that ended the innermost dimension.
        waited, outer, first = Signal(4), Signal(name="outer_step"), Signal(name="first_row")
        m.d.sync += waited.eq(Mux(running & ~unit.o.valid, waited + 1, 0))
        with m.If(moved | full):
            m.d.sync += [outer.eq(final[1]), first.eq(full)]
        longest = Mux(first, unit.latency - DESCRIPTOR_WORDS, unit.step_cycles + Mux(outer, 2, 0))
        row = unit.o.payload
        check(m, stream_held(m, unit.o), ~unit.o.valid | running, unit.i.ready == ~running,
              unit.o_idle == (~running & (word == 0)), ~unit.o.valid | (row.address == places[0]),
              ~unit.o.valid | (row.length == words[2]), ~unit.o.valid | (row.end == (words[3][1] & last)),
              ~running | (waited <= longest))
        self._loaded(m, word, running, words, counts, strides)
        self._invariant(m, running, words[0][:width], counts, strides, index, places, waited, first, outer)
        self.witness = [moved & row.end & (index[0] != 0) & (index[2] != 0), moved & ~last & final[0] & final[1]]

    def _memory(self, m):
        """What the memory holds of the second and the third dimension: address, index, count and stride of each."""
        outer, found = self.inside.submodules.outer, []
        for dimension in range(DIMENSIONS - 1):
            values = []
            for what in (midend._ADDRESS, midend._INDEX, midend._COUNT, midend._STRIDE):
                probe = outer.read_port(domain="comb")
                m.d.comb += probe.addr.eq(what | dimension << 2)
                values.append(probe.data)
            found.append(values)
        return found

    def _loaded(self, m, word, running, words, counts, strides):
        """Words of a descriptor that have come are in their places."""
        inside = self.inside
        self.kept = self._memory(m)
        places = {2: (inside["length"], words[2]), 3: (inside["end"], words[3][1]), 4: (inside["count"], counts[0]),
                  5: (inside["stride"], strides[0])}
        for k, (_address, _index, count, stride) in enumerate(self.kept):
            places |= {6 + 2 * k: (Cat(inside["alone"][k], count), Cat(counts[k + 1] == 1, counts[k + 1])),
                       7 + 2 * k: (stride, strides[k + 1])}
        check(m, inside["word"] == word, ~running | (word == 0),
              *(~(running | (word > number)) | (place == value) for number, (place, value) in places.items()),
              *(~(running | (word > 4 + 2 * k)) | (n != 0) for k, n in enumerate(counts)))

    def _invariant(self, m, running, base, counts, strides, index, places, waited, first, outer):
        """By the state of the unit, what the dimensions have in the memory."""
        inside, at = self.inside, state_of(self.unit)
        address, third = inside["address"], inside["third"]

        def during(*states):
            return Cat(at(state) for state in states).any()

        def sure(condition, *claims):
            check(m, *(~condition | claim for claim in claims))

        step, again = during("COUNT", "COMPARE", "FETCH", "STEP", "KEEP"), during("AGAIN0", "AGAIN1")
        fresh = during("FIRST0", "FIRST1", "FIRST2", "FIRST3")
        rows, load = at("ROWS"), at("LOAD")
        check(m, rows | step | again | fresh | load, running == ~load, load | (inside["index"] == index[0] + 1),
              *(load | (item < n) for item, n in zip(index, counts)))
        sure(load & (inside["word"] != 0) | fresh, address == base)
        sure(fresh | load, *(item == 0 for item in index))
        sure(step | again, index[0] == 0)
        sure(rows | again, address == places[0])
        for k, (place, number, _count, _stride) in enumerate(self.kept, 1):
            mine, last = step & (third == k - 1), inside["last"][k - 1] == (index[k] + 1 == counts[k])
            sure(rows | (again | step) & (k == 2) & ~mine, place == places[k], number == index[k] + 1, last)
            sure(mine, index[k] != 0, *(item == 0 for item in index[:k]),
                 number == index[k] + during("FETCH", "STEP", "KEEP"), place == (places[k] - strides[k])[:len(place)])
            sure(mine & during("FETCH", "STEP", "KEEP"), last)
            sure(mine & at("COMPARE"), address == index[k] + 1)
            sure(mine & at("STEP"), address == place)
            sure(mine & at("KEEP"), address == places[k])
            sure(fresh & ~at("FIRST0"), last)
            sure(during("FIRST3", *(["FIRST2"] if k == 2 else ["FIRST1", "FIRST2"])), place == base)
        sure(at("FIRST3"), self.kept[0][1] == 1)
        sure(again, third, index[1] == 0)
        sure(at("AGAIN1"), self.kept[0][0] == places[1])
        # The time since the last row.
        for number, state in enumerate(("COUNT", "COMPARE", "FETCH", "STEP", "KEEP", "AGAIN0", "AGAIN1")):
            sure(at(state), waited == number, ~first, outer == third)
        for number in range(4):
            sure(at(f"FIRST{number}"), waited == number, first)
