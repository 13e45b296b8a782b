"""What happens to a generated design after it is generated: gate netlists, power, timing, equivalence, FPGA."""
