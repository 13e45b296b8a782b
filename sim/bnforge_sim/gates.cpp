// Simulates a flat gate netlist behind core.h, so that the bench of the RTL runs it, and counts what its nets do.
//
// Third argument of the bench: a job, a text file of three lines: netlist file, result file, "first last". Both files
// are little-endian 32-bit words, laid out in bnforge_sim/gates.py. The result holds, per net, how often its settled
// value changed from one cycle to the next and in how many cycles it was 1, in the cycles first <= cycle < last after
// the reset, and the cycles counted.
//
// Two-valued, without delays: a net has one value per cycle, the one before the rising edge of the clock. Registers and
// memories start at random values.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core.h"

namespace {

using Nets = std::vector<uint32_t>;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "gates: %s\n", what);
    std::exit(2);
}

class Words {
public:
    explicit Words(const std::string& path) {
        std::ifstream file(path, std::ios::binary | std::ios::ate);
        if (!file) fail("cannot open the netlist");
        words_.resize(static_cast<size_t>(file.tellg()) / 4);
        file.seekg(0);
        file.read(reinterpret_cast<char*>(words_.data()), static_cast<std::streamsize>(words_.size() * 4));
    }
    uint32_t next() {
        if (at_ == words_.size()) fail("the netlist ends too early");
        return words_[at_++];
    }
    Nets list() {
        Nets nets(next());
        for (auto& net : nets) net = next();
        return nets;
    }

private:
    std::vector<uint32_t> words_;
    size_t at_ = 0;
};

constexpr int kInputs = 6;

struct Gate {
    uint64_t table;
    uint32_t in[kInputs], out;
};

struct FlipFlop {
    uint32_t d, q, inverted;
};

struct ReadPort {
    uint32_t enable;
    Nets address, data, transparent;
};

struct WritePort {
    Nets address, data, enables;
};

struct Memory {
    uint32_t width, depth;
    std::vector<ReadPort> reads;
    std::vector<WritePort> writes;
    std::vector<uint8_t> bits, taken;
};

struct Port {
    bool is_input = false;
    Nets nets;
    std::vector<uint8_t> bytes;
};

class GateCore final : public Core {
public:
    GateCore(uint32_t seed, const std::string& netlist, std::string result, uint32_t first, uint32_t last)
        : result_(std::move(result)), first_(first), last_(last), random_(seed * 2654435761u + 1) {
        Words in(netlist);
        read(in);
        connect();
    }
    ~GateCore() override { write(); }
    const Ports& ports() const override { return ports_; }
    void eval() override;
    void advance() override {}

private:
    void read(Words& in);
    void read_memory(Words& in);
    void connect();
    PortData data(const char* name);
    Stream stream(const std::string& name);
    uint8_t* bit(const std::string& name) { return static_cast<uint8_t*>(data(name.c_str()).data); }
    bool take_inputs();
    void settle();
    void show_outputs();
    void clock();
    void count();
    void clock_memory(Memory& memory);
    uint32_t address(const Nets& nets) const;
    uint8_t random() {
        random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<uint8_t>(random_ >> 40 & 1);
    }
    void write() const;

    std::string result_;
    uint32_t first_, last_, cycle_ = 0, counted_ = 0;
    uint64_t random_;
    std::vector<uint8_t> value_, before_, next_;
    std::vector<uint32_t> toggles_, ones_;
    std::vector<Gate> gates_;
    std::vector<FlipFlop> flip_flops_;
    std::vector<Memory> memories_;
    std::map<std::string, Port> port_;
    Ports ports_ = {};
    bool stale_ = true, was_high_ = false;
};

void GateCore::read(Words& in) {
    value_.resize(in.next());
    before_ = value_;
    toggles_.resize(value_.size());
    ones_.resize(value_.size());
    gates_.resize(in.next());
    for (auto& gate : gates_) {
        gate.table = in.next();
        gate.table |= static_cast<uint64_t>(in.next()) << 32;
        gate.out = in.next();
        for (auto& net : gate.in) net = in.next();
    }
    flip_flops_.resize(in.next());
    next_.resize(flip_flops_.size());
    for (auto& flip_flop : flip_flops_) {
        flip_flop.d = in.next();
        flip_flop.q = in.next();
        flip_flop.inverted = in.next();
        value_[flip_flop.q] = random();
    }
    for (uint32_t count = in.next(); count; --count) read_memory(in);
    for (uint32_t count = in.next(); count; --count) {
        std::string name;
        for (uint32_t letter : in.list()) name += static_cast<char>(letter);
        Port& port = port_[name];
        port.is_input = in.next();
        port.nets = in.list();
        port.bytes.resize((port.nets.size() + 7) / 8);
    }
    value_[1] = 1;
}

void GateCore::read_memory(Words& in) {
    Memory memory = {in.next(), in.next(), {}, {}, {}, {}};
    memory.reads.resize(in.next());
    for (auto& port : memory.reads) {
        port.enable = in.next();
        port.address = in.list();
        port.data = in.list();
        port.transparent = in.list();
        for (uint32_t net : port.data) value_[net] = random();
    }
    memory.writes.resize(in.next());
    for (auto& port : memory.writes) {
        port.address = in.list();
        port.data = in.list();
        port.enables = in.list();
    }
    memory.bits.resize(static_cast<size_t>(memory.width) * memory.depth);
    for (auto& bit : memory.bits) bit = random();
    memories_.push_back(std::move(memory));
}

PortData GateCore::data(const char* name) {
    const auto found = port_.find(name);
    if (found == port_.end()) return {};
    return {found->second.bytes.data(), static_cast<uint32_t>(found->second.nets.size())};
}

Stream GateCore::stream(const std::string& name) {
    return {data((name + "_tdata").c_str()), data((name + "_tuser").c_str()), bit(name + "_tvalid"),
            bit(name + "_tready"), bit(name + "_tlast")};
}

void GateCore::connect() {
    ports_.aclk = bit("aclk");
    ports_.aresetn = bit("aresetn");
    ports_.status = bit("status");
    ports_.status_clear = bit("status_clear");
    ports_.header = stream("s_axis_hdr");
    ports_.data = stream("s_axis");
    ports_.y = stream("s_axis_y");
    ports_.gradient = stream("s_axis_g");
    ports_.output = stream("m_axis");
    ports_.record = stream("m_axis_rec");
}

bool GateCore::take_inputs() {
    bool changed = false;
    for (auto& [name, port] : port_) {
        if (!port.is_input || name == "aclk") continue;
        for (size_t index = 0; index < port.nets.size(); ++index) {
            const uint8_t bit = port.bytes[index / 8] >> index % 8 & 1;
            changed |= value_[port.nets[index]] != bit;
            value_[port.nets[index]] = bit;
        }
    }
    return changed;
}

void GateCore::settle() {
    uint8_t* const v = value_.data();
    for (const Gate& gate : gates_) {
        const uint32_t index = v[gate.in[0]] | v[gate.in[1]] << 1 | v[gate.in[2]] << 2 | v[gate.in[3]] << 3 |
                               v[gate.in[4]] << 4 | v[gate.in[5]] << 5;
        v[gate.out] = gate.table >> index & 1;
    }
}

void GateCore::show_outputs() {
    for (auto& [name, port] : port_) {
        if (port.is_input) continue;
        std::fill(port.bytes.begin(), port.bytes.end(), 0);
        for (size_t index = 0; index < port.nets.size(); ++index)
            port.bytes[index / 8] |= static_cast<uint8_t>(value_[port.nets[index]] << index % 8);
    }
}

void GateCore::count() {
    if (first_ <= cycle_ && cycle_ < last_) {
        for (size_t net = 0; net < value_.size(); ++net) {
            toggles_[net] += value_[net] ^ before_[net];
            ones_[net] += value_[net];
        }
        ++counted_;
    }
    before_ = value_;
    cycle_ = *ports_.aresetn ? cycle_ + 1 : 0;
}

uint32_t GateCore::address(const Nets& nets) const {
    uint32_t value = 0;
    for (size_t index = 0; index < nets.size(); ++index) value |= static_cast<uint32_t>(value_[nets[index]]) << index;
    return value;
}

void GateCore::clock_memory(Memory& memory) {
    // What the read ports take, then the writes; value_ stays that of before the edge until all memories are done.
    for (const auto& port : memory.reads) {
        const uint32_t row = address(port.address);
        for (uint32_t bit = 0; bit < memory.width; ++bit) {
            uint8_t taken = row < memory.depth ? memory.bits[row * memory.width + bit] : 0;
            for (size_t index = 0; index < memory.writes.size(); ++index) {
                const auto& write = memory.writes[index];
                if (port.transparent[index] && value_[write.enables[bit]] && address(write.address) == row)
                    taken = value_[write.data[bit]];
            }
            memory.taken.push_back(value_[port.enable] ? taken : value_[port.data[bit]]);
        }
    }
    for (const auto& port : memory.writes) {
        const uint32_t row = address(port.address);
        for (uint32_t bit = 0; row < memory.depth && bit < memory.width; ++bit)
            if (value_[port.enables[bit]]) memory.bits[row * memory.width + bit] = value_[port.data[bit]];
    }
}

void GateCore::clock() {
    for (size_t index = 0; index < flip_flops_.size(); ++index) next_[index] = value_[flip_flops_[index].d];
    for (auto& memory : memories_) clock_memory(memory);
    for (size_t index = 0; index < flip_flops_.size(); ++index)
        value_[flip_flops_[index].q] = next_[index] ^ flip_flops_[index].inverted;
    for (auto& memory : memories_) {
        size_t at = 0;
        for (const auto& port : memory.reads)
            for (uint32_t net : port.data) value_[net] = memory.taken[at++];
        memory.taken.clear();
    }
}

void GateCore::eval() {
    const bool high = *ports_.aclk;
    stale_ |= take_inputs();
    if (stale_) settle();
    stale_ = high && !was_high_;
    if (stale_) {
        count();
        clock();
    }
    was_high_ = high;
    show_outputs();
}

void GateCore::write() const {
    std::ofstream file(result_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&counted_), 4);
    for (const auto* counts : {&toggles_, &ones_})
        file.write(reinterpret_cast<const char*>(counts->data()), static_cast<std::streamsize>(counts->size() * 4));
    file.close();
    if (!file) fail("cannot write the result");
}

}  // namespace

std::unique_ptr<Core> make_core(uint32_t seed, const char* waves) {
    std::ifstream job(waves ? waves : "");
    std::string netlist, result;
    uint32_t first = 0, last = 0;
    if (!std::getline(job, netlist) || !std::getline(job, result) || !(job >> first >> last)) return nullptr;
    return std::make_unique<GateCore>(seed, netlist, result, first, last);
}
