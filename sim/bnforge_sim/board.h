// What board.cpp sees of a board's design: its ports in the Verilator model. board_core.cpp fills it in.
#pragma once

#include "design.h"

struct Ports {
    uint8_t *clk, *rst, *rx, *tx, *leds;
};

using Board = Design<Ports>;

// As make_design.
std::unique_ptr<Board> make_board(uint32_t seed, const char* waves);
