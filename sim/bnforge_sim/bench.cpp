// Bulk bench of a bnforge core under Verilator.
//
//   bench STIMULUS RESULT [WAVES.vcd]
//
// The core is seen through core.h only, so that this file is compiled once for all designs.
//
// STIMULUS and RESULT are little-endian binary files, laid out in bnforge_sim/files.py. The stimulus is a list of
// segments; each begins with a reset and runs until everything expected has come, until a given cycle, or until nothing
// has moved for a given number of cycles.
//
// Checked in every cycle, on both output streams: once TVALID is high, it and the payload hold until TREADY; TVALID is
// low while in reset; in the "after valid" mode of a sink, TREADY answers TVALID, and TVALID may not depend on it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core.h"

namespace {

enum Port { HDR, DATA, Y, GRADIENT, OUT, REC, N_PORTS };
constexpr int kSources = OUT;
enum State : uint32_t { FINISHED = 0, STOPPED = 1, IDLE = 2, VIOLATION = 3 };
enum Rule : uint32_t { NONE = 0, VALID_DROPPED = 1, PAYLOAD_CHANGED = 2, VALID_IN_RESET = 3, VALID_WAITS = 4 };

constexpr uint32_t kMagic = 0x31464e42;  // "BNF1"

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "bench: %s\n", what);
    std::exit(2);
}

struct Random {  // xorshift64*
    uint64_t state;
    explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull) {
        if (!state) state = 1;
    }
    uint32_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return static_cast<uint32_t>((state * 0x2545f4914f6cdd1dull) >> 32);
    }
};

class Reader {
public:
    explicit Reader(const char* path) : file_(std::fopen(path, "rb")) {
        if (!file_) fail("cannot open the stimulus");
    }
    ~Reader() { std::fclose(file_); }
    uint32_t word() {
        uint32_t value;
        bytes(&value, sizeof value);
        return value;
    }
    void bytes(void* to, size_t count) {
        if (count && std::fread(to, 1, count, file_) != count) fail("the stimulus ends too early");
    }
    template <class T> std::vector<T> array(size_t count) {
        std::vector<T> values(count);
        bytes(values.data(), count * sizeof(T));
        return values;
    }

private:
    FILE* file_;
};

class Writer {
public:
    explicit Writer(const char* path) : file_(std::fopen(path, "wb")) {
        if (!file_) fail("cannot open the result");
    }
    ~Writer() { if (std::fclose(file_)) fail("cannot write the result"); }
    void word(uint32_t value) { bytes(&value, sizeof value); }
    void bytes(const void* from, size_t count) {
        if (count && std::fwrite(from, 1, count, file_) != count) fail("cannot write the result");
    }
    template <class T> void array(const std::vector<T>& values) { bytes(values.data(), values.size() * sizeof(T)); }

private:
    FILE* file_;
};

// Bursts of idle cycles: outside a burst each cycle starts one with the given probability, 1 ... longest cycles long.
struct Stalls {
    uint32_t probability = 0;  // of 2^32
    uint32_t longest = 1;
    uint32_t after_valid = 0;
    uint32_t left = 0;

    void read(Reader& in) {
        probability = in.word();
        longest = in.word();
        after_valid = in.word();
    }
    bool stalled(Random& random) {
        if (left) {
            --left;
            return true;
        }
        if (probability && random.next() < probability) {
            left = random.next() % longest;
            return true;
        }
        return false;
    }
};

// What a source sends: item i after wait[i] idle cycles, then as the stalls allow.
struct Source {
    std::vector<uint8_t> payload;
    std::vector<uint8_t> last;
    std::vector<uint32_t> wait;
    std::vector<uint32_t> cycles;  // in which each item was taken
    size_t item_bytes = 0;
    size_t next = 0;
    uint32_t waited = 0;
    bool valid = false;

    void read(Reader& in, size_t count, size_t bytes) {
        item_bytes = bytes;
        payload = in.array<uint8_t>(count * bytes);
        last = in.array<uint8_t>(count);
        wait = in.array<uint32_t>(count);
        cycles.reserve(count);
    }
    bool done() const { return next == last.size(); }
    bool waiting() const { return !done() && waited < wait[next]; }
    // Decides whether to present the next item; once presented it stays until taken.
    void step(Stalls& stalls, Random& random) {
        if (valid || done()) return;
        if (waited < wait[next]) {
            ++waited;
            return;
        }
        valid = !stalls.stalled(random);
    }
    const uint8_t* item() const { return payload.data() + next * item_bytes; }
    void taken(uint32_t cycle) {
        cycles.push_back(cycle);
        ++next;
        waited = 0;
        valid = false;
    }
};

// What a sink took, and the payload that must still be there in the next cycle.
struct Sink {
    std::vector<uint8_t> payload;
    std::vector<uint32_t> cycles;
    std::vector<uint8_t> held;
    std::vector<uint8_t> now;
    bool pending = false;

    explicit Sink(size_t bytes) : held(bytes), now(bytes) {}

    Rule check(bool valid) const {
        if (!pending) return NONE;
        if (!valid) return VALID_DROPPED;
        return held == now ? NONE : PAYLOAD_CHANGED;
    }
    void settle(bool valid, bool ready, uint32_t cycle) {
        if (valid && ready) {
            payload.insert(payload.end(), now.begin(), now.end());
            cycles.push_back(cycle);
        }
        pending = valid && !ready;
        if (pending) held = now;
    }
};

size_t bytes_of(const PortData& port) { return (port.bits + 7) / 8; }

size_t item_bytes(const Stream& stream) { return bytes_of(stream.tdata) + bytes_of(stream.tuser); }

void put(const PortData& port, const uint8_t* bytes) {
    if (port.bits) std::memcpy(port.data, bytes, bytes_of(port));
}

// Verilator wants the bits above a port's width to be zero.
void scramble(const PortData& port, Random& random) {
    auto* bytes = static_cast<uint8_t*>(port.data);
    for (uint32_t bit = 0; bit < port.bits; bit += 8) {
        const uint32_t width = port.bits - bit < 8 ? port.bits - bit : 8;
        bytes[bit / 8] = static_cast<uint8_t>(random.next() & ((1u << width) - 1));
    }
}

class Bench {
public:
    explicit Bench(std::unique_ptr<Core> core) : core_(std::move(core)), port_(core_->ports()) {}
    void segment(Reader& in, Writer& out);

private:
    void half(bool clock) {
        *port_.aclk = clock;
        core_->eval();
        core_->advance();
    }
    void drive(Random& random);
    void sample(Sink& out, Sink& rec);
    bool reset(Random& random);

    std::unique_ptr<Core> core_;
    const Ports& port_;
    const Stream* const input_[kSources] = {&port_.header, &port_.data, &port_.y, &port_.gradient};
    Source source_[kSources];
};

void drive_stream(const Stream& stream, const Source& source, Random& random) {
    if (!stream.valid) return;
    *stream.valid = source.valid;
    if (source.valid) {
        put(stream.tdata, source.item());
        put(stream.tuser, source.item() + bytes_of(stream.tdata));
        *stream.last = source.last[source.next];
    } else {
        scramble(stream.tdata, random);
        scramble(stream.tuser, random);
        *stream.last = random.next() & 1;
    }
}

void Bench::drive(Random& random) {
    for (int port = 0; port < kSources; ++port) drive_stream(*input_[port], source_[port], random);
}

void sample_stream(const Stream& stream, Sink& sink) {
    uint8_t* to = sink.now.data();
    for (const PortData* port : {&stream.tdata, &stream.tuser}) {
        const size_t count = bytes_of(*port);
        if (count) std::memcpy(to, port->data, count);
        to += count;
    }
    *to = *stream.last;
}

void Bench::sample(Sink& out, Sink& rec) {
    sample_stream(port_.output, out);
    sample_stream(port_.record, rec);
}

// Four cycles of reset with garbage on the payloads; whether both output TVALIDs are low after the first.
bool Bench::reset(Random& random) {
    bool low = true;
    for (int cycle = 0; cycle < 4; ++cycle) {
        *port_.aresetn = 0;
        *port_.status_clear = 0;
        *port_.output.ready = random.next() & 1;
        *port_.record.ready = random.next() & 1;
        drive(random);
        half(false);
        if (cycle && (*port_.output.valid || *port_.record.valid)) low = false;
        half(true);
    }
    *port_.aresetn = 1;
    return low;
}

void Bench::segment(Reader& in, Writer& file) {
    const uint32_t seed = in.word();
    uint32_t count[N_PORTS];
    for (auto& items : count) items = in.word();
    const uint32_t n_out = count[OUT], n_rec = count[REC];
    const uint32_t stop_cycle = in.word(), drain = in.word(), idle_limit = in.word();
    Stalls stalls[N_PORTS];
    for (auto& port : stalls) port.read(in);
    for (int index = 0; index < kSources; ++index) {
        if (count[index] && !input_[index]->valid) fail("the core has no stream for some of the stimulus");
        source_[index] = Source();
        source_[index].read(in, count[index], item_bytes(*input_[index]));
    }
    Sink out(item_bytes(port_.output) + 1), rec(item_bytes(port_.record) + 1);
    out.payload.reserve(n_out * out.now.size());
    rec.payload.reserve(n_rec * rec.now.size());
    std::vector<uint32_t> status_log;

    Random random(seed);
    State state = STOPPED;
    Rule rule = NONE;
    uint32_t port = OUT, cycle = 0, idle = 0, drained = 0, status = 0;
    if (!reset(random)) {
        state = VIOLATION;
        rule = VALID_IN_RESET;
    }
    for (; state != VIOLATION && (!stop_cycle || cycle < stop_cycle); ++cycle) {
        for (int index = 0; index < kSources; ++index) source_[index].step(stalls[index], random);
        drive(random);
        const bool out_wish = !stalls[OUT].stalled(random), rec_wish = !stalls[REC].stalled(random);
        *port_.output.ready = out_wish && !stalls[OUT].after_valid;
        *port_.record.ready = rec_wish && !stalls[REC].after_valid;
        half(false);
        if (stalls[OUT].after_valid || stalls[REC].after_valid) {
            // TVALID must be the same with TREADY low and high.
            const bool out_valid = *port_.output.valid, rec_valid = *port_.record.valid;
            if (stalls[OUT].after_valid) *port_.output.ready = 1;
            if (stalls[REC].after_valid) *port_.record.ready = 1;
            core_->eval();
            if (out_valid != *port_.output.valid || rec_valid != *port_.record.valid) {
                state = VIOLATION;
                rule = VALID_WAITS;
                port = out_valid != *port_.output.valid ? OUT : REC;
                break;
            }
            if (stalls[OUT].after_valid) *port_.output.ready = out_wish && out_valid;
            if (stalls[REC].after_valid) *port_.record.ready = rec_wish && rec_valid;
            core_->eval();
        }
        sample(out, rec);
        const Rule out_rule = out.check(*port_.output.valid), rec_rule = rec.check(*port_.record.valid);
        if (out_rule || rec_rule) {
            state = VIOLATION;
            rule = out_rule ? out_rule : rec_rule;
            port = out_rule ? OUT : REC;
        }
        if (*port_.status != status) {
            status = *port_.status;
            status_log.push_back(cycle);
            status_log.push_back(status);
        }
        ++idle;
        bool sent = true;
        for (int index = 0; index < kSources; ++index) {
            Source& source = source_[index];
            if (source.valid && *input_[index]->ready) {
                source.taken(cycle);
                idle = 0;
            }
            if (source.waiting()) idle = 0;
            sent = sent && source.done();
        }
        const size_t before = out.cycles.size() + rec.cycles.size();
        out.settle(*port_.output.valid, *port_.output.ready, cycle);
        rec.settle(*port_.record.valid, *port_.record.ready, cycle);
        if (out.cycles.size() + rec.cycles.size() != before) idle = 0;
        half(true);
        const bool complete = sent && out.cycles.size() >= n_out && rec.cycles.size() >= n_rec;
        if (state != VIOLATION && !stop_cycle && complete && ++drained > drain) {
            state = FINISHED;
            break;
        }
        if (state != VIOLATION && idle > idle_limit) {
            state = IDLE;
            break;
        }
    }
    // One pulse of status_clear, with nothing offered and nothing taken.
    for (auto& source : source_) source.valid = false;
    drive(random);
    *port_.output.ready = *port_.record.ready = 0;
    *port_.status_clear = 1;
    half(false);
    half(true);
    *port_.status_clear = 0;
    half(false);
    const uint32_t cleared = *port_.status;
    half(true);

    file.word(kMagic);
    for (uint32_t value : {static_cast<uint32_t>(state), static_cast<uint32_t>(rule), port, cycle, status, cleared})
        file.word(value);
    const std::vector<uint32_t>* const transfers[N_PORTS] = {
        &source_[HDR].cycles, &source_[DATA].cycles, &source_[Y].cycles, &source_[GRADIENT].cycles, &out.cycles,
        &rec.cycles};
    for (const auto* cycles : transfers) file.word(static_cast<uint32_t>(cycles->size()));
    file.word(static_cast<uint32_t>(status_log.size() / 2));
    for (const auto* cycles : transfers) file.array(*cycles);
    file.array(status_log);
    file.array(out.payload);
    file.array(rec.payload);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && argc != 4) fail("usage: bench STIMULUS RESULT [WAVES.vcd]");
    Reader in(argv[1]);
    Writer out(argv[2]);
    if (in.word() != kMagic) fail("not a stimulus file");
    const uint32_t seed = in.word(), n_segments = in.word();
    auto core = make_core(seed, argc == 4 ? argv[3] : nullptr);
    if (!core) fail("built without waves, or their file cannot be written");
    Bench bench(std::move(core));
    for (uint32_t index = 0; index < n_segments; ++index) bench.segment(in, out);
    return 0;
}
