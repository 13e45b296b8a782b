// What array.cpp sees of an array: its ports as addresses in the Verilator model. array_core.cpp fills it in.
#pragma once

#include "engine.h"

struct ArrayStream {
    uint8_t *valid, *ready, *last;
    Wide data, user;  // user of no bits: no such port
};

struct ArrayPorts {
    uint8_t *aclk, *aresetn, *status, *status_clear;
    uint8_t* transpose;  // null: no such port
    ArrayStream a, w, c;
};

using ArrayModel = Design<ArrayPorts>;

// As make_design.
std::unique_ptr<ArrayModel> make_array_model(uint32_t seed, const char* waves);
