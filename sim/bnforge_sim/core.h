// What bench.cpp sees of a core: its ports as addresses in the Verilator model. core.cpp fills it in.
#pragma once

#include "design.h"

struct PortData {
    void* data = nullptr;  // little-endian, whatever the C++ type of the port
    uint32_t bits = 0;
};

// All null where the core has no such stream.
struct Stream {
    PortData tdata, tuser;
    uint8_t *valid = nullptr, *ready = nullptr, *last = nullptr;
};

struct Ports {
    uint8_t *aclk, *aresetn, *status, *status_clear;
    Stream header, data, y, gradient, output, record;
};

using Core = Design<Ports>;

// As make_design.
std::unique_ptr<Core> make_core(uint32_t seed, const char* waves);
