// A board's design with a serial adapter at its line: bytes in, bytes out, clock cycles between.

#include "board.h"

#include <algorithm>
#include <deque>

namespace {

constexpr unsigned BITS = 10;  // of a byte on the line: start, 8, stop

// The adapter's end of both directions; time counts in clock cycles of the board, and a bit need not be a whole number.
class Adapter {
public:
    void set(double cycles_per_bit) { bit_ = cycles_per_bit; }
    void send(const uint8_t* bytes, size_t count) { out_.insert(out_.end(), bytes, bytes + count); }
    size_t receive(uint8_t* bytes, size_t room) {
        size_t count = std::min(room, in_.size());
        std::copy_n(in_.begin(), count, bytes);
        in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(count));
        return count;
    }
    size_t waiting() const { return out_.size(); }
    uint8_t line() {  // the level that the board sees in this cycle
        if (!sending_) {
            if (out_.empty()) return 1;
            frame_ = 0x200u | static_cast<unsigned>(out_.front()) << 1;
            out_.pop_front();
            sending_ = true;
            sent_ = 0;
        }
        unsigned index = static_cast<unsigned>(sent_ / bit_);
        if (++sent_ >= BITS * bit_) sending_ = false;
        return frame_ >> std::min(index, BITS - 1) & 1;
    }
    void sample(uint8_t level) {  // what the board sends
        if (!receiving_) {
            if (level || !last_) {
                last_ = level;
                return;
            }
            receiving_ = true;
            seen_ = 0;
            index_ = 0;
            byte_ = 0;
        }
        last_ = level;
        if (seen_++ >= (index_ + 0.5) * bit_) {
            if (index_ == BITS - 1) {
                in_.push_back(static_cast<uint8_t>(byte_ >> 1));  // whatever the stop bit is, as adapters do
                receiving_ = false;
                return;
            }
            byte_ |= static_cast<unsigned>(level) << index_++;
        }
    }

private:
    double bit_ = 1;
    std::deque<uint8_t> out_, in_;
    bool sending_ = false, receiving_ = false;
    uint8_t last_ = 1;
    unsigned frame_ = 0, byte_ = 0, index_ = 0;
    double sent_ = 0, seen_ = 0;
};

class Bench {
public:
    explicit Bench(std::unique_ptr<Board> board) : board_(std::move(board)) { *board_->ports().rx = 1; }
    void reset(unsigned cycles) {
        *board_->ports().rst = 1;
        for (; cycles; --cycles) clock();  // the line is not looked at: registers have any value before
        *board_->ports().rst = 0;
    }
    void run(uint64_t cycles) {
        const Ports& ports = board_->ports();
        for (; cycles; --cycles) {
            *ports.rx = adapter.line();
            adapter.sample(*ports.tx);
            clock();
        }
    }
    uint8_t leds() const { return *board_->ports().leds; }

    Adapter adapter;

private:
    void clock() {
        for (uint8_t level : {0, 1}) {
            *board_->ports().clk = level;
            board_->eval();
            board_->advance();
        }
    }

    std::unique_ptr<Board> board_;
};

Bench& bench(void* handle) { return *static_cast<Bench*>(handle); }

}  // namespace

extern "C" {

void* board_make(uint32_t seed, const char* waves) {
    auto board = make_board(seed, waves);
    return board ? new Bench(std::move(board)) : nullptr;
}
void board_delete(void* handle) { delete &bench(handle); }
void board_reset(void* handle, uint32_t cycles) { bench(handle).reset(cycles); }
void board_run(void* handle, uint64_t cycles) { bench(handle).run(cycles); }
void board_bit(void* handle, double cycles) { bench(handle).adapter.set(cycles); }
void board_send(void* handle, const uint8_t* bytes, uint64_t count) { bench(handle).adapter.send(bytes, count); }
uint64_t board_receive(void* handle, uint8_t* bytes, uint64_t room) { return bench(handle).adapter.receive(bytes, room); }
uint64_t board_waiting(void* handle) { return bench(handle).adapter.waiting(); }
uint32_t board_leds(void* handle) { return bench(handle).leds(); }

}  // extern "C"
