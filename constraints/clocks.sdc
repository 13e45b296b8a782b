# Assumed clock: 100 MHz on aclk, the only clock; times in ns. Logic outside the core has
# 30% of the period before its inputs and after its outputs. Reset is synchronous to aclk.
create_clock -name aclk -period 10.000 [get_ports aclk]
set_input_delay -clock aclk 3.000 [remove_from_collection [all_inputs] [get_ports aclk]]
set_output_delay -clock aclk 3.000 [all_outputs]
