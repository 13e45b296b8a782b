// Makes a Verilator model of an engine into what engine.h describes. DATA_BITS and ADDRESS_BITS are the widths of the
// manager port.

#include "engine.h"
#include "verilated_design.h"

static Ports connect(Vtop& t) {
    return {
        &t.aclk, &t.aresetn, &t.irq,
        {&t.m_axi_arvalid, &t.m_axi_arready, &t.m_axi_arid, &t.m_axi_arlen, &t.m_axi_arsize, &t.m_axi_arburst,
         &t.m_axi_arcache, &t.m_axi_arprot, {&t.m_axi_araddr, ADDRESS_BITS}},
        {&t.m_axi_awvalid, &t.m_axi_awready, &t.m_axi_awid, &t.m_axi_awlen, &t.m_axi_awsize, &t.m_axi_awburst,
         &t.m_axi_awcache, &t.m_axi_awprot, {&t.m_axi_awaddr, ADDRESS_BITS}},
        {&t.m_axi_wvalid, &t.m_axi_wready, &t.m_axi_wlast, {&t.m_axi_wdata, DATA_BITS},
         {&t.m_axi_wstrb, DATA_BITS / 8}},
        {&t.m_axi_rvalid, &t.m_axi_rready, &t.m_axi_rlast, &t.m_axi_rid, &t.m_axi_rresp,
         {&t.m_axi_rdata, DATA_BITS}},
        {&t.m_axi_bvalid, &t.m_axi_bready, &t.m_axi_bid, &t.m_axi_bresp},
        {&t.s_axil_awvalid, &t.s_axil_awready, &t.s_axil_awprot, &t.s_axil_wvalid, &t.s_axil_wready,
         &t.s_axil_wstrb, &t.s_axil_bvalid, &t.s_axil_bready, &t.s_axil_bresp, &t.s_axil_arvalid,
         &t.s_axil_arready, &t.s_axil_arprot, &t.s_axil_rvalid, &t.s_axil_rready, &t.s_axil_rresp,
         &t.s_axil_awaddr, &t.s_axil_araddr, &t.s_axil_wdata, &t.s_axil_rdata}};
}

std::unique_ptr<Engine> make_engine(uint32_t seed, const char* waves) {
    return make_design<Ports>(seed, waves, connect);
}
