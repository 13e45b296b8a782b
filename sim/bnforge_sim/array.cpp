// Bench of a systolic array alone (docs/array.md) under Verilator, as a library: beats into its two input streams, each
// port with random stalls, and what comes out. bnforge_sim/array.py calls it.
//
// Checked in every cycle: once m_axis_tvalid is high, it and the payload hold until taken; nothing is offered or
// accepted in reset, nor accepted after a wrong frame; sticky flags stay; the array is not idle while a beat or a
// result of a known block is inside; from the end on it is idle and silent.

#include "array.h"

#include "engine_memory.h"

namespace {

enum Outcome : int64_t { DONE = 0, STOPPED = 1, BROKEN = -1 };
enum Port { A, W, C, N_PORTS };
constexpr uint8_t kSticky = 15, kMisframed = 8, kIdle = 16;
constexpr uint32_t kQuiet = 24;  // cycles after the end in which nothing may happen

struct Settings {  // as in array.py
    const uint8_t* data[2];     // of A and W, beat after beat, whole bytes
    const uint8_t* user[2];
    const uint8_t* last[2];
    uint64_t count[2];
    const uint64_t* ends;       // A, W and C of each block, counted from the first
    uint64_t n_blocks;
    uint8_t* results;
    uint8_t* results_last;
    uint64_t* cycles[N_PORTS];  // in which each beat was taken
    uint64_t wanted, room;      // results after which it is done, and the most that there may be
    uint64_t seed, patience;
    uint32_t stall[N_PORTS], longest[N_PORTS], reset, clear, transpose;
};

struct Source {
    const ArrayStream* port = nullptr;
    const uint8_t *data = nullptr, *user = nullptr, *last = nullptr;
    uint64_t count = 0, taken = 0;
    Stalls stalls;
    bool shown = false;

    void drive(Random& random) {
        shown = shown || (!stalls.stalled(random) && taken != count);
        *port->valid = shown;
        put(port->data, shown ? data + taken * port->data.bytes() : nullptr, random);
        put(port->user, shown ? user + taken * port->user.bytes() : nullptr, random);
        *port->last = shown ? last[taken] : random.next() & 1;
    }
    bool take() {
        const bool now = shown && *port->ready;
        taken += now;
        shown = shown && !now;
        return now;
    }

private:
    static void put(const Wide& to, const uint8_t* from, Random& random) {
        uint8_t* bytes = static_cast<uint8_t*>(to.data);
        const uint32_t kind = random.next() >> 30;  // garbage is all ones, all zeros, or anything
        for (uint32_t index = 0; index < to.bytes(); ++index)
            bytes[index] = from ? from[index] : kind == 0 ? 0xff : kind == 1 ? 0 : random.next() >> 7;
        if (to.bits % 8) bytes[to.bytes() - 1] &= (1 << to.bits % 8) - 1;
    }
};

class Bench {
public:
    explicit Bench(std::unique_ptr<ArrayModel> model) : model_(std::move(model)), ports_(model_->ports()) {
        *ports_.aclk = *ports_.status_clear = 0;
        for (Source* source : {&sources_[A], &sources_[W]}) *source = Source();
        sources_[A].port = &ports_.a;
        sources_[W].port = &ports_.w;
    }

    int64_t run(const Settings& from);

    Verdict verdict;
    uint64_t length = 0;
    uint8_t status = 0;
    uint64_t taken(uint32_t port) const { return port == C ? n_results_ : sources_[port].taken; }

private:
    void half(bool clock) {
        *ports_.aclk = clock;
        model_->eval();
        model_->advance();
    }
    void begin(const Settings& from);
    void reset();
    void clear();
    void step();
    void check();
    bool inside();
    bool done() const {
        return sources_[A].taken == sources_[A].count && sources_[W].taken == sources_[W].count &&
               n_results_ == set_.wanted;
    }

    std::unique_ptr<ArrayModel> model_;
    const ArrayPorts& ports_;
    Settings set_{};
    Source sources_[2];
    Stalls stalls_;
    Random random_;
    uint64_t n_results_ = 0, cycle_ = 0, start_ = 0, moved_ = 0, block_ = 0;
    bool waiting_ = false, cleared_ = true, waiting_last_ = false;
    std::vector<uint8_t> held_;
};

void Bench::begin(const Settings& from) {
    set_ = from;
    for (int index = 0; index < 2; ++index) {
        Source& source = sources_[index];
        source.data = from.data[index];
        source.user = from.user[index];
        source.last = from.last[index];
        source.count = from.count[index];
        source.taken = 0;
        source.shown = false;
        source.stalls = {from.stall[index], from.longest[index], 0};
    }
    stalls_ = {from.stall[C], from.longest[C], 0};
    random_.seed(from.seed);
    verdict = Verdict();
    n_results_ = block_ = 0;
    start_ = moved_ = cycle_;
    if (ports_.transpose) *ports_.transpose = from.transpose;
}

void Bench::reset() {
    *ports_.aresetn = 0;
    for (int count = 0; count < 3; ++count) {
        for (Source& source : sources_) {
            source.drive(random_);
            *source.port->valid = random_.next() & 1;
            source.shown = false;
        }
        *ports_.c.ready = random_.next() & 1;
        half(false);
        if (count && (*ports_.c.valid || *ports_.a.ready || *ports_.w.ready))
            verdict.fail("a stream moves in reset");
        half(true);
    }
    *ports_.aresetn = 1;
    waiting_ = false;
    status = 0;
    cleared_ = true;
    start_ = moved_ = cycle_;
}

void Bench::clear() {
    const uint64_t counts[] = {sources_[A].count, sources_[W].count};
    sources_[A].count = sources_[W].count = 0;
    *ports_.status_clear = 1;
    step();
    *ports_.status_clear = 0;
    sources_[A].count = counts[A];
    sources_[W].count = counts[W];
}

// Whether a beat of a known block is inside, or one of its results.
bool Bench::inside() {
    const uint64_t* ends = set_.ends;
    while (block_ < set_.n_blocks && n_results_ >= ends[3 * block_ + C]) ++block_;
    if (block_ == set_.n_blocks) return false;
    const uint64_t a = block_ ? ends[3 * block_ - 3 + A] : 0, w = block_ ? ends[3 * block_ - 3 + W] : 0;
    return sources_[A].taken > a || sources_[W].taken > w;
}

void Bench::check() {
    const uint8_t now = *ports_.status;
    if (!cleared_ && (status & ~now & kSticky)) verdict.fail("status fell from %d to %d", status, now);
    status = now;
    cleared_ = *ports_.status_clear;
    if ((now & kIdle) && (*ports_.c.valid || inside())) verdict.fail("idle with something inside");
    if ((now & kMisframed) && (*ports_.a.ready || *ports_.w.ready)) verdict.fail("ready after a wrong frame");
    const Wide& data = ports_.c.data;
    const uint8_t* bytes = static_cast<const uint8_t*>(data.data);
    if (waiting_) {
        if (!*ports_.c.valid) verdict.fail("m_axis_tvalid fell");
        else if (std::memcmp(bytes, held_.data(), data.bytes()) || *ports_.c.last != waiting_last_)
            verdict.fail("the payload of m_axis changed");
    }
    waiting_ = *ports_.c.valid && !*ports_.c.ready;
    waiting_last_ = *ports_.c.last;
    held_.assign(bytes, bytes + data.bytes());
}

void Bench::step() {
    verdict.cycle = cycle_ - start_;
    for (Source& source : sources_) source.drive(random_);
    *ports_.c.ready = !stalls_.stalled(random_);
    half(false);
    check();
    for (int index = 0; index < 2; ++index) {
        const uint64_t number = sources_[index].taken;
        if (!sources_[index].take()) continue;
        set_.cycles[index][number] = cycle_ - start_;
        moved_ = cycle_;
    }
    if (*ports_.c.valid && *ports_.c.ready) {
        if (n_results_ == set_.room) verdict.fail("more results than there can be");
        else {
            std::memcpy(set_.results + n_results_ * held_.size(), held_.data(), held_.size());
            set_.results_last[n_results_] = *ports_.c.last;
            set_.cycles[C][n_results_++] = cycle_ - start_;
        }
        moved_ = cycle_;
    }
    half(true);
    ++cycle_;
}

int64_t Bench::run(const Settings& from) {
    begin(from);
    if (from.reset) reset();
    if (from.clear) clear();
    while (!done() || !(status & kIdle)) {
        if (cycle_ - moved_ > set_.patience) return STOPPED;
        step();
        if (verdict.broken()) return BROKEN;
    }
    length = cycle_ - start_;
    for (uint32_t count = 0; count < kQuiet; ++count) {
        step();
        if (!(status & kIdle)) verdict.fail("idle fell");
    }
    return verdict.broken() ? BROKEN : DONE;
}

Bench& bench(void* handle) { return *static_cast<Bench*>(handle); }

}  // namespace

extern "C" {

void* array_make(uint32_t seed, const char* waves) {
    auto model = make_array_model(seed, waves);
    return model ? new Bench(std::move(model)) : nullptr;
}
void array_delete(void* handle) { delete &bench(handle); }
int64_t array_run(void* handle, const Settings* settings) { return bench(handle).run(*settings); }
const char* array_message(void* handle) { return bench(handle).verdict.message.c_str(); }
uint64_t array_taken(void* handle, uint32_t port) { return bench(handle).taken(port); }
uint64_t array_length(void* handle) { return bench(handle).length; }
uint32_t array_status(void* handle) { return bench(handle).status; }

}  // extern "C"
