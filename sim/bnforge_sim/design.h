// A Verilator model seen through the addresses of its ports, so that a bench is compiled once for all designs of a kind.
#pragma once

#include <cstdint>
#include <memory>

template <class Ports>
class Design {
public:
    virtual ~Design() = default;
    virtual const Ports& ports() const = 0;
    virtual void eval() = 0;
    virtual void advance() = 0;  // half a clock cycle of time; writes the waves
};
