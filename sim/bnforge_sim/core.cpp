// Makes a Verilator model of a core into what core.h describes. X_BITS, Y_BITS and USER_BITS are the widths of
// s_axis_tdata, m_axis_tdata and m_axis_tuser (0: no such port); HAS_Y says whether there is an s_axis_y, of the widths
// of m_axis.

#include "core.h"

#include <cstdio>
#include <cstdlib>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

class VerilatedCore final : public Core {
public:
    VerilatedCore(uint32_t seed, const char* waves) {
        context_.randReset(2);
        context_.randSeed(static_cast<int>(seed & 0x7fffffff));
        top_ = std::make_unique<Vtop>(&context_);
#if VM_TRACE
        if (waves) {
            context_.traceEverOn(true);
            trace_ = std::make_unique<VerilatedVcdC>();
            top_->trace(trace_.get(), 99);
            trace_->open(waves);
        }
#else
        if (waves) {
            std::fprintf(stderr, "bench: built without waves\n");
            std::exit(2);
        }
#endif
        ports_ = {&top_->aclk, &top_->aresetn, &top_->status, &top_->status_clear,
                  {{&top_->s_axis_hdr_tdata, 32}, {}, &top_->s_axis_hdr_tvalid, &top_->s_axis_hdr_tready,
                   &top_->s_axis_hdr_tlast},
                  {{&top_->s_axis_tdata, X_BITS}, {}, &top_->s_axis_tvalid, &top_->s_axis_tready, &top_->s_axis_tlast},
                  {},
                  {{&top_->m_axis_tdata, Y_BITS}, {}, &top_->m_axis_tvalid, &top_->m_axis_tready, &top_->m_axis_tlast},
                  {{&top_->m_axis_rec_tdata, 32}, {}, &top_->m_axis_rec_tvalid, &top_->m_axis_rec_tready,
                   &top_->m_axis_rec_tlast}};
#if USER_BITS
        ports_.output.tuser = {&top_->m_axis_tuser, USER_BITS};
#endif
#if HAS_Y
        ports_.y = {{&top_->s_axis_y_tdata, Y_BITS}, {}, &top_->s_axis_y_tvalid, &top_->s_axis_y_tready,
                    &top_->s_axis_y_tlast};
#if USER_BITS
        ports_.y.tuser = {&top_->s_axis_y_tuser, USER_BITS};
#endif
#endif
    }
    ~VerilatedCore() override {
        top_->final();
#if VM_TRACE
        if (trace_) trace_->close();
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

}  // namespace

std::unique_ptr<Core> make_core(uint32_t seed, const char* waves) {
    return std::make_unique<VerilatedCore>(seed, waves);
}
