// Makes the Verilator model of a design into what design.h describes.
#pragma once

#include "design.h"

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

template <class Ports>
class VerilatedDesign final : public Design<Ports> {
public:
    VerilatedDesign(uint32_t seed, Ports (*connect)(Vtop&)) {
        context_.randReset(2);
        context_.randSeed(static_cast<int>(seed & 0x7fffffff));
        top_ = std::make_unique<Vtop>(&context_);
        ports_ = connect(*top_);
    }
    ~VerilatedDesign() override {
        top_->final();
#if VM_TRACE
        if (trace_) trace_->close();
#endif
    }
    bool open([[maybe_unused]] const char* waves) {
#if VM_TRACE
        context_.traceEverOn(true);
        trace_ = std::make_unique<VerilatedVcdC>();
        top_->trace(trace_.get(), 99);
        trace_->open(waves);
        return trace_->isOpen();
#else
        return false;
#endif
    }
    const Ports& ports() const override { return ports_; }
    void eval() override { top_->eval(); }
    void advance() override {
#if VM_TRACE
        if (trace_) trace_->dump(context_.time());
#endif
        context_.timeInc(5);
    }

private:
    VerilatedContext context_;
    std::unique_ptr<Vtop> top_;
    Ports ports_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif
};

// Registers start at random values drawn from the seed: only reset may be relied on. Null where waves are asked for but
// not built, or their file cannot be written.
template <class Ports>
std::unique_ptr<Design<Ports>> make_design(uint32_t seed, const char* waves, Ports (*connect)(Vtop&)) {
    auto design = std::make_unique<VerilatedDesign<Ports>>(seed, connect);
    if (waves && !design->open(waves)) return nullptr;
    return design;
}
