// Bench of an engine under Verilator, as a library: a memory on the manager port (engine_memory.h), its rules
// (engine_monitor.h), and a master of the register port. bnforge_sim/engine.py calls it.
//
// The engine is seen through engine.h only, so that this file is compiled once for all designs. Functions that simulate
// stop at the first broken rule and return -1; then engine_message has the text, until the next reset.

#include "engine_memory.h"

namespace {

constexpr uint64_t kPatience = 2000;  // cycles that a register access may take
enum Outcome : int64_t { BROKEN = -1, TIMEOUT = -2 };

class Bench {
public:
    explicit Bench(std::unique_ptr<Engine> engine)
        : memory(engine->ports(), verdict), monitor(engine->ports()), engine_(std::move(engine)),
          port_(engine_->ports()) {}

    Verdict verdict;
    Memory memory;
    Monitor monitor;
    Random random;
    uint64_t cycle = 0;
    uint32_t lite_delay = 0;  // longest random wait of each channel of the register port
    uint64_t write_gaps = 0;  // cycles inside a write burst without WVALID
    uint64_t read_wait = 0, write_wait = 0;

    int64_t reset(uint32_t cycles);
    bool step();
    int64_t write(uint32_t offset, uint32_t value, uint32_t strobe);
    int64_t read(uint32_t offset);
    bool irq() const { return *port_.irq; }

private:
    // One channel of the register port that the bench drives: raised after a random wait, low after the transfer.
    struct Offer {
        uint32_t wait = 0;
        bool valid = false, wanted = false;
        void want(uint32_t cycles) {
            wait = cycles;
            wanted = true;
        }
        void drive() {
            if (!wanted || valid) return;
            if (wait) --wait;
            else valid = true;
        }
        bool take(bool ready) {
            if (!valid || !ready) return false;
            valid = wanted = false;
            return true;
        }
    };

    void half(bool clock) {
        *port_.aclk = clock;
        engine_->eval();
        engine_->advance();
    }
    uint32_t pause() { return lite_delay ? random.next() % (lite_delay + 1) : 0; }
    void drive_lite();
    void check_lite();
    void settle();
    int64_t until(const bool& done);

    std::unique_ptr<Engine> engine_;
    const Ports& port_;
    Offer lite_aw_, lite_w_, lite_ar_, lite_b_, lite_r_;  // of B and R: READY
    Held held_b_, held_r_;
    uint32_t address_ = 0, value_ = 0, strobe_ = 0, answer_ = 0;
    int owed_b_ = 0, owed_r_ = 0;  // requests taken and not answered; a write has two halves
    bool written_ = false, read_ = false;
};

int64_t Bench::reset(uint32_t cycles) {
    verdict = Verdict();
    memory.reset();
    monitor.reset();
    lite_aw_ = lite_w_ = lite_ar_ = lite_b_ = lite_r_ = Offer();
    held_b_ = held_r_ = Held();
    owed_b_ = owed_r_ = 0;
    for (uint32_t count = 0; count < cycles; ++count, ++cycle) {
        verdict.cycle = cycle;
        *port_.aresetn = 0;
        drive_lite();
        *port_.ar.ready = random.next() & 1;
        *port_.aw.ready = random.next() & 1;
        *port_.w.ready = random.next() & 1;
        *port_.r.valid = *port_.b.valid = 0;
        half(false);
        if (count) monitor.check_reset(verdict);
        half(true);
    }
    *port_.aresetn = 1;
    memory.last_activity = cycle;
    return verdict.broken() ? int64_t(BROKEN) : 0;
}

void Bench::drive_lite() {
    for (Offer* offer : {&lite_aw_, &lite_w_, &lite_ar_, &lite_b_, &lite_r_}) offer->drive();
    *port_.lite.awvalid = lite_aw_.valid;
    *port_.lite.wvalid = lite_w_.valid;
    *port_.lite.arvalid = lite_ar_.valid;
    *port_.lite.bready = lite_b_.valid;
    *port_.lite.rready = lite_r_.valid;
    // What is not offered is noise.
    *port_.lite.awaddr = (lite_aw_.valid ? address_ : random.next()) & 0xfff;
    *port_.lite.araddr = (lite_ar_.valid ? address_ : random.next()) & 0xfff;
    *port_.lite.wdata = lite_w_.valid ? value_ : random.next();
    *port_.lite.wstrb = (lite_w_.valid ? strobe_ : random.next()) & 15;
    *port_.lite.awprot = random.next() & (lite_aw_.valid ? 0 : 7);
    *port_.lite.arprot = random.next() & (lite_ar_.valid ? 0 : 7);
}

void Bench::check_lite() {
    const auto& lite = port_.lite;
    if (*lite.bvalid) held_b_.put(lite.bresp, 1);
    if (*lite.rvalid) {
        held_r_.put(lite.rdata, 4);
        held_r_.put(lite.rresp, 1);
    }
    if (*lite.bvalid && owed_b_ != 2) verdict.fail("register B VALID without a write");
    if (*lite.rvalid && owed_r_ != 1) verdict.fail("register R VALID without a read");
    if (const char* wrong = held_b_.check(*lite.bvalid, *lite.bready)) verdict.fail("register B %s", wrong);
    if (const char* wrong = held_r_.check(*lite.rvalid, *lite.rready)) verdict.fail("register R %s", wrong);
    owed_b_ += lite_aw_.take(*lite.awready);
    owed_b_ += lite_w_.take(*lite.wready);
    owed_r_ += lite_ar_.take(*lite.arready);
    if (lite_b_.take(*lite.bvalid)) {
        owed_b_ = 0;
        answer_ = *lite.bresp;
        written_ = true;
    }
    if (lite_r_.take(*lite.rvalid)) {
        owed_r_ = 0;
        value_ = *lite.rdata;
        answer_ = *lite.rresp;
        read_ = true;
    }
}

// READY in answer to VALID; VALID must be the same with READY low and high.
void Bench::settle() {
    const uint8_t* const valid[] = {port_.ar.valid, port_.aw.valid, port_.w.valid};
    const char* const names[] = {"AR", "AW", "W"};
    bool before[3];
    for (int index = 0; index < 3; ++index) before[index] = *valid[index];
    *port_.ar.ready = *port_.aw.ready = *port_.w.ready = 1;
    engine_->eval();
    for (int index = 0; index < 3; ++index)
        if (*valid[index] != before[index]) verdict.fail("%s VALID depends on READY", names[index]);
    memory.answer();
    engine_->eval();
}

bool Bench::step() {
    verdict.cycle = cycle;
    memory.drive(cycle, random);
    drive_lite();
    half(false);
    if (memory.late()) settle();
    write_gaps += monitor.in_write() && !*port_.w.valid;
    read_wait += (monitor.reads() || *port_.ar.valid) && !*port_.r.valid;
    write_wait += *port_.w.valid && !*port_.w.ready;
    monitor.check(verdict);
    check_lite();
    memory.take(cycle, random);
    half(true);
    ++cycle;
    return !verdict.broken();
}

int64_t Bench::until(const bool& done) {
    for (uint64_t count = 0; count < kPatience; ++count) {
        if (!step()) return BROKEN;
        if (done) return 0;
    }
    verdict.fail("register access at %#x without an answer", address_);
    return BROKEN;
}

// The response, 0 to 3.
int64_t Bench::write(uint32_t offset, uint32_t value, uint32_t strobe) {
    if (verdict.broken()) return BROKEN;
    address_ = offset, value_ = value, strobe_ = strobe;
    written_ = false;
    lite_aw_.want(pause());
    lite_w_.want(pause());
    lite_b_.want(3 * pause());
    return until(written_) ? int64_t(BROKEN) : answer_;
}

// The value, and above it the response.
int64_t Bench::read(uint32_t offset) {
    if (verdict.broken()) return BROKEN;
    address_ = offset;
    read_ = false;
    lite_ar_.want(pause());
    lite_r_.want(3 * pause());
    return until(read_) ? int64_t(BROKEN) : value_ | int64_t(answer_) << 32;
}

Bench& bench(void* handle) { return *static_cast<Bench*>(handle); }

}  // namespace

extern "C" {

struct Settings {  // as in engine.py
    uint8_t* bytes;
    uint64_t base, size, seed;
    uint32_t max_burst, outstanding, read_latency, write_latency, jitter, order, after_valid, strict, lite_delay;
    uint32_t stall[N_CHANNELS], longest[N_CHANNELS];
};

void* engine_make(uint32_t seed, const char* waves) {
    auto engine = make_engine(seed, waves);
    return engine ? new Bench(std::move(engine)) : nullptr;
}
void engine_delete(void* handle) { delete &bench(handle); }
void engine_set(void* handle, const Settings* from) {
    Bench& to = bench(handle);
    to.memory.set = {from->bytes, from->base, from->size, from->read_latency, from->write_latency, from->jitter,
                     static_cast<Order>(from->order), from->after_valid, from->strict};
    for (int channel = 0; channel < N_CHANNELS; ++channel)
        to.memory.stalls[channel] = {from->stall[channel], from->longest[channel], 0};
    to.monitor.rules = {from->max_burst, from->outstanding};
    to.lite_delay = from->lite_delay;
    to.random.seed(from->seed);
}
int64_t engine_reset(void* handle, uint32_t cycles) { return bench(handle).reset(cycles); }
int64_t engine_step(void* handle, uint64_t cycles) {
    if (bench(handle).verdict.broken()) return BROKEN;
    while (cycles--)
        if (!bench(handle).step()) return BROKEN;
    return 0;
}
// Cycles until irq is high.
int64_t engine_wait(void* handle, uint64_t timeout) {
    if (bench(handle).verdict.broken()) return BROKEN;
    for (uint64_t count = 0; count <= timeout; ++count) {
        if (bench(handle).irq()) return static_cast<int64_t>(count);
        if (!bench(handle).step()) return BROKEN;
    }
    return TIMEOUT;
}
int64_t engine_write(void* handle, uint32_t offset, uint32_t value, uint32_t strobe) {
    return bench(handle).write(offset, value, strobe);
}
int64_t engine_read(void* handle, uint32_t offset) { return bench(handle).read(offset); }
const char* engine_message(void* handle) { return bench(handle).verdict.message.c_str(); }

// Offsets in the memory; region 0 is what is in none of these. Counts start again.
void engine_regions(void* handle, uint32_t count, const uint64_t* start, const uint64_t* end, const uint32_t* access) {
    Bench& to = bench(handle);
    std::vector<Region> list{{0, 0, 0, {}}};
    for (uint32_t index = 0; index < count; ++index)
        list.push_back({start[index], end[index], access[index], {}});
    to.memory.set_regions(std::move(list));
    to.write_gaps = to.read_wait = to.write_wait = 0;
}
void engine_counts(void* handle, uint32_t region, uint64_t* to) {
    const Counts& from = bench(handle).memory.regions.list[region].counts;
    for (uint64_t value : {from.read_bursts, from.read_beats, from.write_bursts, from.write_beats, from.write_bytes})
        *to++ = value;
}
void engine_totals(void* handle, uint64_t* to) {
    const Bench& from = bench(handle);
    const Memory& memory = from.memory;
    for (uint64_t value : {from.cycle, uint64_t(from.irq()), memory.read_flow.beats, memory.read_flow.first,
                           memory.read_flow.last, memory.write_flow.beats, memory.write_flow.first,
                           memory.write_flow.last, from.write_gaps, from.read_wait, from.write_wait, memory.last_activity, memory.stored_beats,
                           uint64_t(from.monitor.reads()), uint64_t(from.monitor.writes()), memory.oldest()})
        *to++ = value;
}
void engine_fault(void* handle, uint32_t kind, uint32_t region, uint64_t index, uint32_t beat, uint32_t response,
                  uint64_t cycles) {
    bench(handle).memory.add({static_cast<FaultKind>(kind), region, beat, response, index, cycles});
}
void engine_heal(void* handle) { bench(handle).memory.faults.clear(); }
// Whether a fault has struck, and the address of its first burst.
int64_t engine_struck(void* handle, uint32_t number, uint64_t* address) {
    const Fault& fault = bench(handle).memory.faults[number];
    *address = fault.address;
    return fault.hit;
}

}  // extern "C"
