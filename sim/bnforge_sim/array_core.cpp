// Makes a Verilator model of an array into what array.h describes. A_BITS, W_BITS and C_BITS are the widths of the
// tdata of the three streams, A_USER_BITS and W_USER_BITS of tuser (0: no such port); TRANSPOSES says whether there is a
// port of that name.

#include "array.h"

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

class VerilatedArray final : public ArrayModel {
public:
    explicit VerilatedArray(uint32_t seed) {
        context_.randReset(2);
        context_.randSeed(static_cast<int>(seed & 0x7fffffff));
        top_ = std::make_unique<Vtop>(&context_);
        Vtop& t = *top_;
        ports_ = {&t.aclk, &t.aresetn, &t.status, &t.status_clear, nullptr,
                  {&t.s_axis_a_tvalid, &t.s_axis_a_tready, &t.s_axis_a_tlast, {&t.s_axis_a_tdata, A_BITS}, {}},
                  {&t.s_axis_w_tvalid, &t.s_axis_w_tready, &t.s_axis_w_tlast, {&t.s_axis_w_tdata, W_BITS}, {}},
                  {&t.m_axis_tvalid, &t.m_axis_tready, &t.m_axis_tlast, {&t.m_axis_tdata, C_BITS}, {}}};
#if TRANSPOSES
        ports_.transpose = &t.transpose;
#endif
#if A_USER_BITS
        ports_.a.user = {&t.s_axis_a_tuser, A_USER_BITS};
        ports_.w.user = {&t.s_axis_w_tuser, W_USER_BITS};
#endif
    }
    ~VerilatedArray() override {
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
    const ArrayPorts& ports() const override { return ports_; }
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
    ArrayPorts ports_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif
};

}  // namespace

std::unique_ptr<ArrayModel> make_array_model(uint32_t seed, const char* waves) {
    auto array = std::make_unique<VerilatedArray>(seed);
    if (waves && !array->open(waves)) return nullptr;
    return array;
}
