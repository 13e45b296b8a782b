// The memory behind the manager port: one range of bytes, latencies, stalls, faults. In order, any number outstanding.
#pragma once

#include <algorithm>

#include "engine_monitor.h"

constexpr uint64_t kNever = ~uint64_t(0);

// Bursts of idle cycles: outside a burst each cycle starts one with the given probability, 1 ... longest cycles long.
struct Stalls {
    uint32_t probability = 0;  // of 2^32
    uint32_t longest = 1;
    uint32_t left = 0;

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

enum Channel { AR, R, AW, W, B, N_CHANNELS };
enum Order : uint32_t { ANY = 0, AW_AFTER_W = 1, W_AFTER_AW = 2 };
enum FaultKind : uint32_t { READ_RESPONSE, WRITE_RESPONSE, STOP_R, STOP_B, STOP_AR, STOP_AW, STOP_W };

// A fault of burst `index` of a region (kAnyRegion: of all), counted from 0 from when it is added. STOP_AR, STOP_AW and
// STOP_W know no region, and no address.
struct Fault {
    static constexpr uint32_t kAnyRegion = ~0u, kAllBeats = ~0u;
    FaultKind kind;
    uint32_t region, beat, response;
    uint64_t index, cycles;           // cycles: how long a stop lasts from its first victim on, 0: until released
    uint64_t address = 0, until = 0;  // of the burst; until: 0 before the first victim
    bool hit = false, over = false;
};

struct MemorySettings {
    uint8_t* bytes = nullptr;
    uint64_t base = 0, size = 0;
    uint32_t read_latency = 1, write_latency = 1, jitter = 0;
    Order order = ANY;
    uint32_t after_valid = 0;  // READY of AR, AW and W only in answer to VALID, within the cycle
    uint32_t strict = 1;       // an access outside the regions is a broken rule, else it is answered DECERR
};

struct Flow {
    uint64_t beats = 0, first = kNever, last = 0;  // data beats, and the cycles of the first and the last
    void count(uint64_t cycle) {
        ++beats;
        first = std::min(first, cycle);
        last = cycle;
    }
};

class Memory {
public:
    MemorySettings set;
    Stalls stalls[N_CHANNELS];
    Regions regions;
    std::deque<Fault> faults;
    Flow read_flow, write_flow;
    uint64_t last_activity = 0, stored_beats = 0;

    Memory(const Ports& ports, Verdict& verdict)
        : port_(ports), verdict_(verdict), width_(ports.r.data.bits / 8),
          mask_(ports.ar.address.bits == 64 ? kNever : (uint64_t(1) << ports.ar.address.bits) - 1) {}

    void add(Fault fault) {
        const bool any = fault.region == Fault::kAnyRegion, write = fault.kind == WRITE_RESPONSE || fault.kind == STOP_B;
        if (fault.kind == STOP_W) fault.index += w_ended_;
        else if (any) fault.index += number_[write || fault.kind == STOP_AW];
        else if (fault.region < region_number_[write].size()) fault.index += region_number_[write][fault.region];
        faults.push_back(fault);
    }
    void set_regions(std::vector<Region> list) {
        regions.list = std::move(list);
        for (auto& numbers : region_number_) numbers.clear();
        read_flow = write_flow = Flow();
        stored_beats = 0;
    }
    // Of the oldest burst without its last answer, reads first, those offered and not taken included; kNever: none.
    uint64_t oldest() const {
        if (!reads_.empty()) return (reads_.front().address + set.base) & mask_;
        if (*port_.ar.valid) return port_.ar.address.get();
        if (!writes_.empty()) return (writes_.front().address + set.base) & mask_;
        return *port_.aw.valid ? port_.aw.address.get() : kNever;
    }
    void reset() {
        reads_.clear();
        writes_.clear();
        data_.clear();
        unmatched_ = 0;
        r_shown_ = b_shown_ = false;
        w_begun_ = aw_taken_ = 0;
        w_first_ = true;
    }

    // Inputs of the engine for this cycle.
    void drive(uint64_t cycle, Random& random) {
        wish_[AR] = !stalls[AR].stalled(random) && !stopped(STOP_AR, *port_.ar.valid, cycle);
        wish_[AW] = !stalls[AW].stalled(random) && !stopped(STOP_AW, *port_.aw.valid, cycle);
        wish_[W] = !stalls[W].stalled(random) && !stopped(STOP_W, *port_.w.valid, cycle);
        *port_.ar.ready = wish_[AR] && !late();
        *port_.aw.ready = wish_[AW] && !late();
        *port_.w.ready = wish_[W] && !late();
        drive_r(cycle, random);
        drive_b(cycle, random);
    }
    bool late() const { return set.after_valid || set.order != ANY; }
    // READY that depends on VALID, after the engine has settled.
    void answer() {
        const bool aw = *port_.aw.valid, w = *port_.w.valid;
        *port_.ar.ready = wish_[AR] && (!set.after_valid || *port_.ar.valid);
        *port_.aw.ready = wish_[AW] && (!set.after_valid || aw) &&
                          (set.order != AW_AFTER_W || w_begun_ + (w && w_first_) > aw_taken_);
        *port_.w.ready = wish_[W] && (!set.after_valid || w) && (set.order != W_AFTER_AW || unmatched_);
    }
    // The transfers of this cycle.
    void take(uint64_t cycle, Random& random) {
        if (*port_.ar.valid && *port_.ar.ready) take_ar(cycle, random);
        if (*port_.aw.valid && *port_.aw.ready) take_aw();
        if (*port_.w.valid && *port_.w.ready) take_w(cycle);
        match(cycle, random);
        if (*port_.r.valid && *port_.r.ready) take_r(cycle);
        if (*port_.b.valid && *port_.b.ready) take_b(cycle);
    }

private:
    struct Burst {
        uint64_t address, ready_at;  // the address as an offset in the memory
        uint32_t beats, done, region;
        uint64_t number, region_number;
        uint8_t response;
        std::vector<uint8_t> data;
        std::vector<uint64_t> strobes;
    };
    struct Beat { std::vector<uint8_t> data; uint64_t strobe; };

    uint64_t offset(uint64_t address) const { return (address - set.base) & mask_; }
    uint64_t delay(uint32_t latency, Random& random) const {
        return latency + (set.jitter ? random.next() % (set.jitter + 1) : 0);
    }
    static bool meets(const Fault& fault, const Burst& burst, bool from) {
        if (fault.region != Fault::kAnyRegion && fault.region != burst.region && !(from && fault.hit)) return false;
        const uint64_t number = fault.region == Fault::kAnyRegion ? burst.number : burst.region_number;
        return from ? fault.hit || number >= fault.index : number == fault.index;
    }
    void strike(Fault& fault, uint64_t address) {
        if (!fault.hit) fault.address = (address + set.base) & mask_;
        fault.hit = true;
    }
    bool lasts(Fault& fault, uint64_t address, uint64_t cycle) {
        strike(fault, address);
        if (!fault.until) fault.until = fault.cycles ? cycle + fault.cycles : kNever;
        if (cycle >= fault.until) fault.over = true;
        return !fault.over;
    }
    bool stopped(FaultKind kind, bool valid, uint64_t cycle) {  // of the channels that the engine drives
        const uint64_t count = kind == STOP_AR ? number_[0] : kind == STOP_AW ? number_[1] : w_ended_;
        bool stop = false;
        for (Fault& fault : faults)
            if (fault.kind == kind && !fault.over &&
                (count > fault.index || (count == fault.index && (kind != STOP_W || w_beat_ >= fault.beat))))
                stop |= !valid || lasts(fault, 0, cycle);
        return stop;
    }
    bool withheld(FaultKind kind, const Burst& burst, uint64_t cycle) {
        bool stop = false;
        for (Fault& fault : faults)
            if (fault.kind == kind && !fault.over && meets(fault, burst, true) &&
                (fault.hit || kind == STOP_B || burst.done >= fault.beat))
                stop |= lasts(fault, burst.address, cycle);
        return stop;
    }
    uint8_t response(FaultKind kind, const Burst& burst, uint32_t beat) {
        uint8_t answer = burst.response;
        for (Fault& fault : faults)
            if (fault.kind == kind && meets(fault, burst, false) &&
                (kind == WRITE_RESPONSE || fault.beat == Fault::kAllBeats || fault.beat == beat)) {
                strike(fault, burst.address);
                answer = static_cast<uint8_t>(fault.response);
            }
        return answer;
    }
    Burst open(const AddressPort& port, bool write) {
        Burst burst{offset(port.address.get()), 0, *port.len + 1u, 0, 0, number_[write]++, 0, 0, {}, {}};
        const uint64_t end = burst.address + uint64_t(burst.beats) * width_;
        burst.region = static_cast<uint32_t>(regions.find(burst.address, end));
        if (region_number_[write].size() <= burst.region) region_number_[write].resize(burst.region + 1);
        burst.region_number = region_number_[write][burst.region]++;
        if (end > set.size || end < burst.address) {
            if (set.strict)
                verdict_.fail("%s burst at %#llx is outside the memory", write ? "AW" : "AR",
                              static_cast<unsigned long long>(port.address.get()));
            burst.response = 3;
        }
        return burst;
    }
    void drive_r(uint64_t cycle, Random& random) {
        const bool stall = stalls[R].stalled(random);
        if (!r_shown_ && !reads_.empty() && cycle >= reads_.front().ready_at && !stall &&
            !withheld(STOP_R, reads_.front(), cycle)) {
            Burst& burst = reads_.front();
            const uint64_t at = burst.address + uint64_t(burst.done) * width_;
            r_shown_ = true;
            *port_.r.last = burst.done + 1 == burst.beats;
            *port_.r.id = 0;
            *port_.r.resp = response(READ_RESPONSE, burst, burst.done);
            if (*port_.r.resp) scramble(random);
            else std::memcpy(port_.r.data.data, set.bytes + at, width_);
        } else if (!r_shown_) {
            scramble(random);
            const uint32_t noise = random.next();
            *port_.r.last = noise & 1;
            *port_.r.id = noise >> 1 & 1;
            *port_.r.resp = noise >> 2 & 3;
        }
        *port_.r.valid = r_shown_;
    }
    void scramble(Random& random) {
        auto* bytes = static_cast<uint8_t*>(port_.r.data.data);
        for (uint32_t at = 0; at < width_; at += 4) {
            const uint32_t value = random.next();
            std::memcpy(bytes + at, &value, 4);
        }
    }
    // What was written is in memory from the answer on, not before; after an error it is not there.
    void drive_b(uint64_t cycle, Random& random) {
        const bool stall = stalls[B].stalled(random);
        if (!b_shown_ && !writes_.empty() && writes_.front().done == writes_.front().beats &&
            cycle >= writes_.front().ready_at && !stall && !withheld(STOP_B, writes_.front(), cycle)) {
            const Burst& burst = writes_.front();
            b_shown_ = true;
            *port_.b.id = 0;
            *port_.b.resp = response(WRITE_RESPONSE, burst, 0);
            if (!*port_.b.resp) store(burst);
        } else if (!b_shown_) {
            const uint32_t noise = random.next();
            *port_.b.id = noise & 1;
            *port_.b.resp = noise >> 1 & 3;
        }
        *port_.b.valid = b_shown_;
    }
    void store(const Burst& burst) {
        for (uint32_t beat = 0; beat < burst.beats; ++beat)
            for (uint32_t lane = 0; lane < width_; ++lane)
                if (burst.strobes[beat] >> lane & 1)
                    set.bytes[burst.address + beat * width_ + lane] = burst.data[beat * width_ + lane];
    }
    void take_ar(uint64_t cycle, Random& random) {
        Burst burst = open(port_.ar, false);
        burst.ready_at = cycle + delay(set.read_latency, random);
        if (!reads_.empty()) burst.ready_at = std::max(burst.ready_at, reads_.back().ready_at);
        ++regions.list[burst.region].counts.read_bursts;
        last_activity = cycle;
        reads_.push_back(std::move(burst));
    }
    void take_r(uint64_t cycle) {
        Burst& burst = reads_.front();
        const uint64_t at = burst.address + uint64_t(burst.done) * width_;
        ++regions.list[regions.find(at, at + width_)].counts.read_beats;
        if (set.strict && !burst.response && !regions.readable(at, at + width_))
            verdict_.fail("R beat at %#llx is in no region that may be read",
                          static_cast<unsigned long long>((at + set.base) & mask_));
        read_flow.count(cycle);
        last_activity = cycle;
        r_shown_ = false;
        if (++burst.done == burst.beats) reads_.pop_front();
    }
    void take_aw() {
        writes_.push_back(open(port_.aw, true));
        ++regions.list[writes_.back().region].counts.write_bursts;
        ++unmatched_;
        ++aw_taken_;
    }
    void take_w(uint64_t cycle) {
        const auto* bytes = static_cast<const uint8_t*>(port_.w.data.data);
        data_.push_back({{bytes, bytes + width_}, port_.w.strobe.get()});
        if (w_first_) ++w_begun_;
        w_first_ = *port_.w.last;
        w_beat_ = w_first_ ? 0 : w_beat_ + 1;
        if (w_first_) ++w_ended_;
        write_flow.count(cycle);
        last_activity = cycle;
    }
    // Beats to their bursts, in order.
    void match(uint64_t cycle, Random& random) {
        while (unmatched_ && !data_.empty()) {
            const size_t index = writes_.size() - unmatched_;
            Burst& burst = writes_[index];
            Beat& beat = data_.front();
            count(burst, beat.strobe);
            burst.data.insert(burst.data.end(), beat.data.begin(), beat.data.end());
            burst.strobes.push_back(beat.strobe);
            data_.pop_front();
            if (++burst.done < burst.beats) continue;
            burst.ready_at = cycle + delay(set.write_latency, random);
            if (index) burst.ready_at = std::max(burst.ready_at, writes_[index - 1].ready_at);
            --unmatched_;
        }
    }
    void count(const Burst& burst, uint64_t strobe) {
        if (!strobe) return;
        const uint64_t at = burst.address + uint64_t(burst.done) * width_;
        const uint64_t from = at + __builtin_ctzll(strobe), to = at + 64 - __builtin_clzll(strobe);
        Counts& counts = regions.list[regions.find(from, to)].counts;
        ++counts.write_beats;
        counts.write_bytes += __builtin_popcountll(strobe);
        if (set.strict && !burst.response && !regions.writable(from, to))
            verdict_.fail("W bytes %#llx to %#llx are not all in regions that may be written",
                          static_cast<unsigned long long>((from + set.base) & mask_),
                          static_cast<unsigned long long>((to - 1 + set.base) & mask_));
    }
    void take_b(uint64_t cycle) {
        b_shown_ = false;
        last_activity = cycle;
        if (!*port_.b.resp) stored_beats += writes_.front().beats;
        writes_.pop_front();
    }

    const Ports& port_;
    Verdict& verdict_;
    const uint32_t width_;
    const uint64_t mask_;
    bool wish_[N_CHANNELS] = {};
    std::deque<Burst> reads_, writes_;
    std::deque<Beat> data_;    // taken before their AW
    size_t unmatched_ = 0;     // bursts of writes_ that wait for data
    bool r_shown_ = false, b_shown_ = false, w_first_ = true;
    uint64_t number_[2] = {}, w_ended_ = 0, w_begun_ = 0, aw_taken_ = 0;
    uint32_t w_beat_ = 0;
    std::vector<uint64_t> region_number_[2];
};
