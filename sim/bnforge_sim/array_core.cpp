// Makes a Verilator model of an array into what array.h describes. A_BITS, W_BITS and C_BITS are the widths of the
// tdata of the three streams, A_USER_BITS and W_USER_BITS of tuser (0: no such port); TRANSPOSES says whether there is a
// port of that name.

#include "array.h"
#include "verilated_design.h"

static ArrayPorts connect(Vtop& t) {
    ArrayPorts ports = {
        &t.aclk, &t.aresetn, &t.status, &t.status_clear, nullptr,
        {&t.s_axis_a_tvalid, &t.s_axis_a_tready, &t.s_axis_a_tlast, {&t.s_axis_a_tdata, A_BITS}, {}},
        {&t.s_axis_w_tvalid, &t.s_axis_w_tready, &t.s_axis_w_tlast, {&t.s_axis_w_tdata, W_BITS}, {}},
        {&t.m_axis_tvalid, &t.m_axis_tready, &t.m_axis_tlast, {&t.m_axis_tdata, C_BITS}, {}}};
#if TRANSPOSES
    ports.transpose = &t.transpose;
#endif
#if A_USER_BITS
    ports.a.user = {&t.s_axis_a_tuser, A_USER_BITS};
    ports.w.user = {&t.s_axis_w_tuser, W_USER_BITS};
#endif
    return ports;
}

std::unique_ptr<ArrayModel> make_array_model(uint32_t seed, const char* waves) {
    return make_design<ArrayPorts>(seed, waves, connect);
}
