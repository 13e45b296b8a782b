// The rules of the manager port, checked in every cycle, and the regions of memory that transfers are counted by.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <deque>
#include <string>
#include <vector>

#include "engine.h"

// Random numbers: xorshift64*.
struct Random {
    uint64_t state = 1;
    void seed(uint64_t seed) {
        state = seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull;
        if (!state) state = 1;
    }
    uint32_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return static_cast<uint32_t>((state * 0x2545f4914f6cdd1dull) >> 32);
    }
};

// The first broken rule; later ones follow from it.
struct Verdict {
    std::string message;
    uint64_t cycle = 0;

    __attribute__((format(printf, 2, 3))) void fail(const char* format, ...) {
        if (!message.empty()) return;
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        message = std::string(text) + ", cycle " + std::to_string(cycle);
    }
    bool broken() const { return !message.empty(); }
};

// Transfers of a region. Beats are counted when taken, strobed bytes with the write beats.
struct Counts {
    uint64_t read_bursts = 0, read_beats = 0, write_bursts = 0, write_beats = 0, write_bytes = 0;
};

struct Region {
    uint64_t start, end;  // end excluded
    uint32_t access;      // bit 0: may be read, bit 1: may be written
    Counts counts;
};

// Region 0 is everything that no other region has. Addresses are offsets in the memory.
class Regions {
public:
    std::vector<Region> list{{0, 0, 0, {}}};

    size_t find(uint64_t start, uint64_t end) const {
        for (size_t index = 1; index < list.size(); ++index)
            if (start < list[index].end && end > list[index].start) return index;
        return 0;
    }
    // Whether a beat touches a region that may be read: a read of whole beats reaches beyond what is wanted.
    bool readable(uint64_t start, uint64_t end) const {
        for (const Region& region : list)
            if ((region.access & 1) && start < region.end && end > region.start) return true;
        return false;
    }
    bool writable(uint64_t start, uint64_t end) const {  // every byte
        while (start < end) {
            uint64_t next = start;
            for (const Region& region : list)
                if ((region.access & 2) && start >= region.start && start < region.end && region.end > next)
                    next = region.end;
            if (next == start) return false;
            start = next;
        }
        return true;
    }
};

struct Rules {
    uint32_t max_burst = 256, outstanding = 128;
};

// Everything a channel shows beside VALID, to be held until READY.
struct Held {
    uint8_t now[80] = {}, before[80] = {};
    uint32_t length = 0;
    bool pending = false;

    void put(const void* data, uint32_t count) {
        std::memcpy(now + length, data, count);
        length += count;
    }
    // What is wrong, given VALID and READY of this cycle and the payload in `now`.
    const char* check(bool valid, bool ready) {
        const char* wrong = nullptr;
        if (pending && !valid) wrong = "VALID fell before READY";
        else if (pending && std::memcmp(now, before, length)) wrong = "payload changed before READY";
        pending = valid && !ready;
        if (pending) std::memcpy(before, now, length);
        length = 0;
        return wrong;
    }
};

class Monitor {
public:
    Rules rules;

    explicit Monitor(const Ports& ports) : port_(ports) {}
    void reset() { now_ = State(); }

    void check(Verdict& verdict) {
        hold(verdict, port_.ar, now_.ar, "AR");
        hold(verdict, port_.aw, now_.aw, "AW");
        if (*port_.w.valid) {
            now_.w.put(port_.w.data.data, port_.w.data.bytes());
            now_.w.put(port_.w.strobe.data, port_.w.strobe.bytes());
            now_.w.put(port_.w.last, 1);
        }
        if (const char* wrong = now_.w.check(*port_.w.valid, *port_.w.ready)) verdict.fail("W %s", wrong);
        if (*port_.ar.valid && *port_.ar.ready) ++now_.reads;
        if (*port_.aw.valid) announce();
        if (*port_.w.valid) data(verdict);
        if (*port_.r.valid && *port_.r.ready && *port_.r.last) --now_.reads;
        if (*port_.b.valid && *port_.b.ready) --now_.writes;
        if (now_.reads > rules.outstanding) verdict.fail("AR more than %u bursts outstanding", rules.outstanding);
        if (now_.writes > rules.outstanding) verdict.fail("AW more than %u bursts outstanding", rules.outstanding);
    }
    void check_reset(Verdict& verdict) const {
        const struct { const uint8_t* valid; const char* name; } outputs[] = {
            {port_.ar.valid, "AR"}, {port_.aw.valid, "AW"}, {port_.w.valid, "W"},
            {port_.lite.bvalid, "register B"}, {port_.lite.rvalid, "register R"}};
        for (const auto& output : outputs)
            if (*output.valid) verdict.fail("%s VALID in reset", output.name);
    }
    // Bursts taken and not answered.
    uint32_t reads() const { return now_.reads; }
    uint32_t writes() const { return now_.writes; }
    // Whether some of the data of a write burst, not all, has been taken.
    bool in_write() const { return now_.beat > 0; }

private:
    struct State {
        Held ar, aw, w;
        uint32_t reads = 0, writes = 0;
        std::deque<uint32_t> bursts;  // beats of the write bursts whose data is not all taken
        bool announced = false;       // the AW that is valid is in it already
        uint32_t beat = 0;
    };

    void hold(Verdict& verdict, const AddressPort& port, Held& held, const char* name) {
        if (*port.valid) {
            held.put(port.address.data, port.address.bytes());
            for (const uint8_t* field : {port.id, port.len, port.size, port.burst, port.cache, port.prot})
                held.put(field, 1);
            if (!held.pending) burst(verdict, port, name);
        }
        if (const char* wrong = held.check(*port.valid, *port.ready)) verdict.fail("%s %s", name, wrong);
    }
    void burst(Verdict& verdict, const AddressPort& port, const char* name) const {
        const uint32_t width = port_.r.data.bits / 8, beats = *port.len + 1u;
        const uint64_t first = port.address.get(), last = first + uint64_t(beats) * width - 1;
        const auto shown = static_cast<unsigned long long>(first);
        if ((1u << *port.size) != width) verdict.fail("%s SIZE must be full width, not %u", name, *port.size);
        if (*port.burst != 1) verdict.fail("%s BURST must be INCR, not %u", name, *port.burst);
        if (*port.id) verdict.fail("%s ID must be 0, not %u", name, *port.id);
        if (*port.cache != 3 || *port.prot)
            verdict.fail("%s CACHE and PROT must be 3 and 0, not %u and %u", name, *port.cache, *port.prot);
        if (beats > rules.max_burst) verdict.fail("%s burst of %u beats, limit %u", name, beats, rules.max_burst);
        if (first % width) verdict.fail("%s address %#llx not aligned", name, shown);
        if (first / 4096 != last / 4096) verdict.fail("%s burst at %#llx crosses 4 KiB", name, shown);
        const uint64_t span = uint64_t(rules.max_burst) * width;
        if (first / span != last / span)
            verdict.fail("%s burst at %#llx crosses a multiple of %u beats", name, shown, rules.max_burst);
    }
    // An AW is before its data from the cycle on in which it is valid.
    void announce() {
        if (!now_.announced) now_.bursts.push_back(*port_.aw.len + 1u);
        now_.announced = !*port_.aw.ready;
        if (*port_.aw.ready) ++now_.writes;
    }
    void data(Verdict& verdict) {
        if (now_.bursts.empty()) return verdict.fail("W data without AW before or with it");
        const uint64_t strobe = port_.w.strobe.get(), lowest = strobe & (~strobe + 1);
        if (!strobe) verdict.fail("W strobe 0");
        if ((strobe + lowest) & strobe)
            verdict.fail("W strobe %#llx not contiguous", static_cast<unsigned long long>(strobe));
        const uint32_t beats = now_.bursts.front();
        const bool last = now_.beat + 1 == beats;
        if (last != bool(*port_.w.last)) verdict.fail("W LAST %u on beat %u of %u", *port_.w.last, now_.beat + 1, beats);
        if (!*port_.w.ready) return;
        ++now_.beat;
        if (last) {
            now_.beat = 0;
            now_.bursts.pop_front();
        }
    }

    const Ports& port_;
    State now_;
};
