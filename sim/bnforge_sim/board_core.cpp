// Makes a Verilator model of a board's design into what board.h describes.

#include "board.h"
#include "verilated_design.h"

static Ports connect(Vtop& t) { return {&t.clk, &t.rst, &t.rx, &t.tx, &t.leds}; }

std::unique_ptr<Board> make_board(uint32_t seed, const char* waves) { return make_design<Ports>(seed, waves, connect); }
