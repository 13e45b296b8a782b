// What engine.cpp sees of an engine: its ports as addresses in the Verilator model. engine_core.cpp fills it in.
#pragma once

#include <cstring>

#include "design.h"

// A port of up to 512 bits: little-endian, whatever its C++ type; the bits above its width must stay 0.
struct Wide {
    void* data = nullptr;
    uint32_t bits = 0;

    uint32_t bytes() const { return (bits + 7) / 8; }
    uint64_t get() const {
        uint64_t value = 0;
        std::memcpy(&value, data, bytes());
        return value;
    }
};

struct AddressPort {
    uint8_t *valid, *ready, *id, *len, *size, *burst, *cache, *prot;
    Wide address;
};

struct Ports {
    uint8_t *aclk, *aresetn, *irq;
    AddressPort ar, aw;
    struct { uint8_t *valid, *ready, *last; Wide data, strobe; } w;
    struct { uint8_t *valid, *ready, *last, *id, *resp; Wide data; } r;
    struct { uint8_t *valid, *ready, *id, *resp; } b;
    struct {
        uint8_t *awvalid, *awready, *awprot, *wvalid, *wready, *wstrb, *bvalid, *bready, *bresp;
        uint8_t *arvalid, *arready, *arprot, *rvalid, *rready, *rresp;
        uint16_t *awaddr, *araddr;
        uint32_t *wdata, *rdata;
    } lite;
};

using Engine = Design<Ports>;

// As make_design.
std::unique_ptr<Engine> make_engine(uint32_t seed, const char* waves);
