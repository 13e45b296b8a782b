/* Driver of bnforge_engine (docs/engine.md): prepares work in memory, starts it, waits for it.
 *
 * C99 without a library: no allocation, no file or math functions. Memory that the engine reads is written byte by
 * byte, so that any host endianness and any alignment will do. Every function that can fail returns an enum
 * bnforge_error, 0 or negative. No function keeps a pointer but those in struct bnforge.
 */
#ifndef BNFORGE_H
#define BNFORGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bnforge_error {
    BNFORGE_OK = 0,
    BNFORGE_ERROR_ARGUMENT = -1,   /* direction, layout or activation is none of its enum */
    BNFORGE_ERROR_ID = -2,         /* not an engine */
    BNFORGE_ERROR_VERSION = -3,    /* an engine of another major version */
    BNFORGE_ERROR_BUILD = -4,      /* the build registers contradict each other */
    BNFORGE_ERROR_SHAPE = -5,      /* a size of 0 */
    BNFORGE_ERROR_DIRECTION = -6,  /* the direction is not built */
    BNFORGE_ERROR_IDENTITY = -7,   /* unsigned blocks hold no identity */
    BNFORGE_ERROR_SCALE = -8,      /* C must be positive, eps at least 0, both finite and normal */
    BNFORGE_ERROR_COUNT = -9,      /* a count above 2^24 - 1 */
    BNFORGE_ERROR_LENGTH = -10,    /* a row of 2^32 bytes or more */
    BNFORGE_ERROR_STRIDE = -11,    /* a stride beyond 32 bits, signed */
    BNFORGE_ERROR_ADDRESS = -12,   /* an array does not lie below 2^address_width, or a job lies at 0 */
    BNFORGE_ERROR_WORKSPACE = -13, /* the workspace is too small */
    BNFORGE_ERROR_VALUE = -14,     /* a variance is negative or not finite */
    BNFORGE_ERROR_BUSY = -15,      /* the engine is busy or draining; bnforge_finish: no run has ended */
    BNFORGE_ERROR_TIMEOUT = -16,   /* the poll limit is reached; the engine runs or drains on */
    BNFORGE_ERROR_ENGINE = -17     /* the run ended early: cause and address are in struct bnforge_result */
};

#define BNFORGE_MAJOR 0u /* of the engines that this driver knows */

enum bnforge_direction { BNFORGE_FORWARD = 0, BNFORGE_BACKWARD = 1 };
enum bnforge_layout { BNFORGE_BLOCKED = 0, BNFORGE_NHWC = 1 };
enum bnforge_activation { BNFORGE_IDENTITY = 0, BNFORGE_RELU = 1, BNFORGE_RELU6 = 2 };

/* A device: the caller sets the first part, bnforge_open the second. */
struct bnforge {
    void *context;                                                   /* first argument of the functions */
    uint32_t (*read32)(void *context, uint32_t offset);              /* a register, by its byte offset */
    void (*write32)(void *context, uint32_t offset, uint32_t value); /* in order with writes to memory */
    void (*wait)(void *context);                                     /* until irq is high; NULL: poll */
    /* Make what was written visible to the engine; NULL: it is. */
    void (*flush)(void *context, const volatile void *memory, size_t bytes);

    uint32_t version;                     /* major in bits 31:24, minor in 23:16, patch in 15:0 */
    uint32_t lanes, sample_depth, chunk_len;
    uint32_t has_forward, has_backward;
    uint32_t is_signed;                   /* elements of y have a sign */
    uint32_t x_width, element_width;      /* bits */
    uint32_t exponent_width, group;       /* of a block; group is 0 with float storage */
    uint32_t record_words;                /* 32-bit words of a channel record */
    uint32_t address_width;
};

/* C and eps of the tile headers. */
struct bnforge_scale {
    float c, eps;
};

/* N images of H x W positions of C channels; operand, stored tensor and result have one layout (docs/engine.md). */
struct bnforge_shape {
    uint32_t images, height, width, channels;
    uint32_t layout; /* enum bnforge_layout */
};

/* A layer: bus addresses of its arrays, at any byte. Those that a direction does not use are not looked at. */
struct bnforge_work {
    struct bnforge_shape shape;
    uint32_t activation;               /* enum bnforge_activation */
    uint32_t frozen;                   /* not 0: a and b as given, no statistics */
    const struct bnforge_scale *scale; /* NULL: bnforge_default_scale */
    uint64_t x, gamma, beta;           /* read forward; gamma and beta are fp32 arrays, when frozen a and b */
    uint64_t y, records;               /* written forward, read backward */
    uint64_t dy;                       /* read backward */
    uint64_t dx, gradients;            /* written backward; gradients are dgamma, dbeta of each channel */
};

/* Memory that holds the job and its programs until the run is over. */
struct bnforge_workspace {
    volatile void *memory; /* as the processor sees it */
    uint64_t address;      /* as the engine sees it; also that of the job */
    uint64_t bytes;
};

struct bnforge_result {
    uint32_t status;         /* STATUS as it was */
    uint32_t cause, channel; /* BNFORGE_CAUSE_..., 0: none */
    uint64_t error_address;
    uint64_t cycles, bytes_read, bytes_written;
    uint32_t read_wait, write_wait;
    uint32_t input_beats, input_stalls, output_beats, output_stalls;
    uint32_t jobs, result_tiles, record_tiles;
};

/* read32 and write32 of registers in memory; the context is their base. */
uint32_t bnforge_mmio_read32(void *context, uint32_t offset);
void bnforge_mmio_write32(void *context, uint32_t offset, uint32_t value);

/* Check that an engine answers, and read what it is built for. */
int bnforge_open(struct bnforge *device);

/* Bytes in memory: 0 for an empty shape, 2^64 - 1 for all that is as large. */
uint64_t bnforge_operand_bytes(const struct bnforge *device, const struct bnforge_shape *shape); /* x, dy */
uint64_t bnforge_stored_bytes(const struct bnforge *device, const struct bnforge_shape *shape);  /* y, dx */
uint64_t bnforge_record_bytes(const struct bnforge *device, uint32_t channels);
uint64_t bnforge_gradient_bytes(uint32_t channels);
uint64_t bnforge_workspace_bytes(const struct bnforge *device, const struct bnforge_work *work,
                                 enum bnforge_direction direction);

/* C = 1/d2 and eps = sqrt(1e-5)/C for the sample of this shape. */
int bnforge_default_scale(const struct bnforge *device, const struct bnforge_work *work, struct bnforge_scale *scale);

/* Check the work, and write its job into the workspace, chained to none. After an error the content means nothing. */
int bnforge_prepare(const struct bnforge *device, const struct bnforge_work *work, enum bnforge_direction direction,
                    const struct bnforge_workspace *workspace);
/* Let the job at bus address next follow the one in the workspace; 0: none. */
int bnforge_chain(const struct bnforge *device, const struct bnforge_workspace *workspace, uint64_t next);

/* Start the chain of jobs at a bus address. With a wait function the interrupt is enabled, else disabled. */
int bnforge_start(const struct bnforge *device, uint64_t job);
/* Look at STATUS at most limit times until the run is over, then as often until the engine is idle; 0: no limit. After
 * BUS_TIMEOUT it may drain for ever, which is not waited for. */
int bnforge_wait(const struct bnforge *device, uint32_t limit);
/* Read how the run went, and clear its events and flags. */
int bnforge_finish(const struct bnforge *device, struct bnforge_result *result);
/* End the run; bnforge_wait and bnforge_finish then tell the cause ABORTED. */
void bnforge_abort(const struct bnforge *device);
/* End what runs, set every register to its reset value, and wait as bnforge_wait does. */
int bnforge_reset(const struct bnforge *device, uint32_t limit);

/* bnforge_prepare, _start, _wait (which has the limit) and _finish; the result is written only when a run has ended. */
int bnforge_forward(const struct bnforge *device, const struct bnforge_work *work,
                    const struct bnforge_workspace *workspace, uint32_t limit, struct bnforge_result *result);
int bnforge_backward(const struct bnforge *device, const struct bnforge_work *work,
                     const struct bnforge_workspace *workspace, uint32_t limit, struct bnforge_result *result);

/* Running statistics from channel records in memory: mean += m*(mu - mean), var += m*((C*R)^2 - var). */
void bnforge_update_running(const struct bnforge *device, const volatile void *records, uint32_t channels, float c,
                            float momentum, float *mean, float *var);
/* a = gamma/(sqrt(var) + sqrt(1e-5)), b = beta - mean*a for the frozen mode: little-endian fp32 arrays in memory, as
 * the engine reads them. a and b may be gamma and beta. */
int bnforge_fold(uint32_t channels, const volatile void *gamma, const volatile void *beta, const float *mean,
                 const float *var, volatile void *a, volatile void *b);

#ifdef __cplusplus
}
#endif
#endif
