# Assumed clock: 100 MHz on aclk, the only clock; times in ns. Logic outside the module has
# 30% of the period before its inputs and after its outputs. Reset is synchronous to aclk.
# For the module as the top of a synthesis run; in a larger design only the period carries over.
create_clock -name aclk -period 10.0000 [get_ports aclk]
set_input_delay -clock aclk 3.0000 [get_ports {aresetn s_axis_tdata[*] s_axis_tvalid s_axis_tlast s_axis_y_tdata[*] s_axis_y_tvalid s_axis_y_tlast s_axis_y_tuser[*] s_axis_hdr_tdata[*] s_axis_hdr_tvalid s_axis_hdr_tlast m_axis_tready m_axis_rec_tready status_clear}]
set_output_delay -clock aclk 3.0000 [get_ports {s_axis_tready s_axis_y_tready s_axis_hdr_tready m_axis_tdata[*] m_axis_tvalid m_axis_tlast m_axis_tuser[*] m_axis_rec_tdata[*] m_axis_rec_tvalid m_axis_rec_tlast status[*]}]
