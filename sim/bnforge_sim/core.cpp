// Makes a Verilator model of a core into what core.h describes. X_BITS, Y_BITS and USER_BITS are the widths of
// s_axis_tdata, m_axis_tdata and m_axis_tuser (0: no such port); HAS_Y and HAS_GRADIENT say whether there are an
// s_axis_y and an s_axis_g, of the widths of m_axis.

#include "core.h"
#include "verilated_design.h"

static Ports connect(Vtop& t) {
    Ports ports = {
        &t.aclk, &t.aresetn, &t.status, &t.status_clear,
        {{&t.s_axis_hdr_tdata, 32}, {}, &t.s_axis_hdr_tvalid, &t.s_axis_hdr_tready, &t.s_axis_hdr_tlast},
        {{&t.s_axis_tdata, X_BITS}, {}, &t.s_axis_tvalid, &t.s_axis_tready, &t.s_axis_tlast},
        {}, {},
        {{&t.m_axis_tdata, Y_BITS}, {}, &t.m_axis_tvalid, &t.m_axis_tready, &t.m_axis_tlast},
        {{&t.m_axis_rec_tdata, 32}, {}, &t.m_axis_rec_tvalid, &t.m_axis_rec_tready, &t.m_axis_rec_tlast}};
#if USER_BITS
    ports.output.tuser = {&t.m_axis_tuser, USER_BITS};
#endif
#if HAS_Y
    ports.y = {{&t.s_axis_y_tdata, Y_BITS}, {}, &t.s_axis_y_tvalid, &t.s_axis_y_tready, &t.s_axis_y_tlast};
#if USER_BITS
    ports.y.tuser = {&t.s_axis_y_tuser, USER_BITS};
#endif
#endif
#if HAS_GRADIENT
    ports.gradient = {{&t.s_axis_g_tdata, Y_BITS}, {}, &t.s_axis_g_tvalid, &t.s_axis_g_tready, &t.s_axis_g_tlast};
#if USER_BITS
    ports.gradient.tuser = {&t.s_axis_g_tuser, USER_BITS};
#endif
#endif
    return ports;
}

std::unique_ptr<Core> make_core(uint32_t seed, const char* waves) {
    return make_design<Ports>(seed, waves, connect);
}
