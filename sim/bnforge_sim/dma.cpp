// Bench of the DMA engine alone (bnforge.dma.Copier) under Verilator, as a library: the memory and the rules of the
// engine's bench on its manager port, and words of descriptors on its two streams. bnforge_sim/dma.py calls it.
// DATA_BITS and ADDRESS_BITS are the widths of the manager port.

#include "Vtop.h"
#include "engine_memory.h"
#include "verilated.h"

namespace {

enum Outcome : int64_t { BROKEN = -1, TIMEOUT = -2 };
constexpr uint32_t kQuiet = 24;  // cycles after the end in which nothing may happen

struct Settings {  // as in dma.py
    uint8_t* bytes;
    uint64_t base, size, seed;
    uint32_t max_burst, outstanding, read_latency, write_latency, jitter, order, after_valid;
    uint32_t stall[N_CHANNELS], longest[N_CHANNELS], word_stall, word_longest;
};

// Words of descriptors, offered one after the other.
struct Words {
    const uint32_t* next = nullptr;
    const uint32_t* end = nullptr;
    Stalls stalls;
    bool shown = false;

    void drive(uint8_t& valid, uint32_t& data, Random& random) {
        shown = shown || (!stalls.stalled(random) && next != end);
        valid = shown;
        data = shown ? *next : random.next();
    }
    void take(bool ready) {
        if (!shown || !ready) return;
        ++next;
        shown = false;
    }
};

class Bench {
public:
    explicit Bench(uint32_t seed) : ports_(make(seed)), memory(ports_, verdict), monitor(ports_) {}
    ~Bench() { top_->final(); }

    int64_t run(const Settings& from, const Words& read, const Words& write, bool reset, uint64_t patience);

private:
    Ports make(uint32_t seed) {
        context_.randReset(2);
        context_.randSeed(static_cast<int>(seed & 0x7fffffff));
        top_ = std::make_unique<Vtop>(&context_);
        Vtop& t = *top_;
        Ports ports{};
        ports.ar = {&t.m_axi_arvalid, &t.m_axi_arready, &t.m_axi_arid, &t.m_axi_arlen, &t.m_axi_arsize,
                    &t.m_axi_arburst, &t.m_axi_arcache, &t.m_axi_arprot, {&t.m_axi_araddr, ADDRESS_BITS}};
        ports.aw = {&t.m_axi_awvalid, &t.m_axi_awready, &t.m_axi_awid, &t.m_axi_awlen, &t.m_axi_awsize,
                    &t.m_axi_awburst, &t.m_axi_awcache, &t.m_axi_awprot, {&t.m_axi_awaddr, ADDRESS_BITS}};
        ports.w = {&t.m_axi_wvalid, &t.m_axi_wready, &t.m_axi_wlast, {&t.m_axi_wdata, DATA_BITS},
                   {&t.m_axi_wstrb, DATA_BITS / 8}};
        ports.r = {&t.m_axi_rvalid, &t.m_axi_rready, &t.m_axi_rlast, &t.m_axi_rid, &t.m_axi_rresp,
                   {&t.m_axi_rdata, DATA_BITS}};
        ports.b = {&t.m_axi_bvalid, &t.m_axi_bready, &t.m_axi_bid, &t.m_axi_bresp};
        ports.lite.bvalid = ports.lite.rvalid = &never_;
        return ports;
    }
    void half(bool clock) {
        top_->aclk = clock;
        top_->eval();
        context_.timeInc(5);
    }
    void begin(const Settings& from);
    void step();
    void settle();

    VerilatedContext context_;
    std::unique_ptr<Vtop> top_;
    uint8_t never_ = 0;
    const Ports ports_;
    Words read_, write_;
    Random random_;
    uint64_t cycle_ = 0;

public:
    Verdict verdict;
    Memory memory;
    Monitor monitor;
    std::vector<uint64_t> bursts[2];  // address and beats of each taken
    uint8_t error = 0;
    uint64_t flow[6] = {};  // beats, first and last cycle of R, then of W
};

void Bench::begin(const Settings& from) {
    memory.set = {from.bytes, from.base, from.size, from.read_latency, from.write_latency, from.jitter,
                  static_cast<Order>(from.order), from.after_valid, 1};
    for (int channel = 0; channel < N_CHANNELS; ++channel)
        memory.stalls[channel] = {from.stall[channel], from.longest[channel], 0};
    memory.set_regions({{0, from.size, 3, {}}});
    memory.read_flow = memory.write_flow = Flow();
    monitor.rules = {from.max_burst, from.outstanding};
    random_.seed(from.seed);
    read_.stalls = write_.stalls = {from.word_stall, from.word_longest, 0};
    for (auto& list : bursts) list.clear();
    verdict = Verdict();
}

// READY in answer to VALID; VALID must be the same with READY low and high.
void Bench::settle() {
    const uint8_t* const valid[] = {ports_.ar.valid, ports_.aw.valid, ports_.w.valid};
    bool before[3];
    for (int index = 0; index < 3; ++index) before[index] = *valid[index];
    *ports_.ar.ready = *ports_.aw.ready = *ports_.w.ready = 1;
    top_->eval();
    for (int index = 0; index < 3; ++index)
        if (*valid[index] != before[index]) verdict.fail("VALID %d depends on READY", index);
    memory.answer();
    top_->eval();
}

void Bench::step() {
    verdict.cycle = cycle_;
    memory.drive(cycle_, random_);
    read_.drive(top_->s_axis_read_tvalid, top_->s_axis_read_tdata, random_);
    write_.drive(top_->s_axis_write_tvalid, top_->s_axis_write_tdata, random_);
    half(false);
    if (memory.late()) settle();
    monitor.check(verdict);
    const AddressPort* const addresses[] = {&ports_.ar, &ports_.aw};
    for (int index = 0; index < 2; ++index)
        if (*addresses[index]->valid && *addresses[index]->ready) {
            bursts[index].push_back(addresses[index]->address.get());
            bursts[index].push_back(*addresses[index]->len + 1u);
        }
    memory.take(cycle_, random_);
    read_.take(top_->s_axis_read_tready);
    write_.take(top_->s_axis_write_tready);
    half(true);
    ++cycle_;
}

// Cycles until idle, after all words were taken; then nothing may move any more.
int64_t Bench::run(const Settings& from, const Words& read, const Words& write, bool reset, uint64_t patience) {
    read_ = read;
    write_ = write;
    begin(from);
    if (reset) {
        memory.reset();
        monitor.reset();
        top_->aresetn = 0;
        *ports_.r.valid = *ports_.b.valid = 0;
        for (int count = 0; count < 2; ++count) {
            half(false);
            if (count) monitor.check_reset(verdict);
            half(true);
        }
        top_->aresetn = 1;
    }
    const uint64_t start = cycle_;
    auto given = [this] { return read_.next == read_.end && write_.next == write_.end; };
    while (!given() || !top_->idle) {
        if (cycle_ - start > patience) return TIMEOUT;
        step();
        if (verdict.broken()) return BROKEN;
    }
    const uint64_t end = cycle_, active = memory.last_activity;
    for (uint32_t count = 0; count < kQuiet; ++count) {
        step();
        if (*ports_.ar.valid || *ports_.aw.valid || *ports_.w.valid || memory.last_activity != active)
            verdict.fail("something moved after idle");
        if (!top_->idle) verdict.fail("idle fell");
    }
    error = top_->error;
    const Flow* const flows[] = {&memory.read_flow, &memory.write_flow};
    for (int index = 0; index < 2; ++index) {
        flow[3 * index] = flows[index]->beats;
        flow[3 * index + 1] = flows[index]->first;
        flow[3 * index + 2] = flows[index]->last;
    }
    return verdict.broken() ? int64_t(BROKEN) : static_cast<int64_t>(end - start);
}

Bench& bench(void* handle) { return *static_cast<Bench*>(handle); }

}  // namespace

extern "C" {

void* dma_make(uint32_t seed) { return new Bench(seed); }
void dma_delete(void* handle) { delete &bench(handle); }
int64_t dma_run(void* handle, const Settings* settings, const uint32_t* read, uint32_t n_read, const uint32_t* write,
                uint32_t n_write, uint32_t reset, uint64_t patience) {
    return bench(handle).run(*settings, {read, read + n_read, {}}, {write, write + n_write, {}}, reset, patience);
}
const char* dma_message(void* handle) { return bench(handle).verdict.message.c_str(); }
uint32_t dma_error(void* handle) { return bench(handle).error; }
uint64_t dma_strobed(void* handle) { return bench(handle).memory.regions.list[0].counts.write_bytes; }
void dma_flow(void* handle, uint64_t* to) { std::copy_n(bench(handle).flow, 6, to); }
// Address and beats of every burst taken; returns their number. `to` null: only that.
uint64_t dma_bursts(void* handle, uint32_t write, uint64_t* to) {
    const auto& list = bench(handle).bursts[write];
    if (to) std::copy(list.begin(), list.end(), to);
    return list.size() / 2;
}
// Burst `index` from now on is answered with `response`.
void dma_fault(void* handle, uint32_t write, uint64_t index, uint32_t response) {
    bench(handle).memory.add({write ? WRITE_RESPONSE : READ_RESPONSE, Fault::kAnyRegion, Fault::kAllBeats, response,
                              index, 0});
}
void dma_heal(void* handle) { bench(handle).memory.faults.clear(); }

}  // extern "C"
