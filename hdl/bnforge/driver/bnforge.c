/* Driver of bnforge_engine: see bnforge.h, and docs/engine.md for what is written into memory. */
#include "bnforge.h"
#include "bnforge_registers.h"

#define FIELD(value, name) (((value) & BNFORGE_##name##_MASK) >> BNFORGE_##name##_SHIFT)

enum channel { HEADER = 0, OPERAND = 1, STORED = 2, RESULT = 3, RECORD = 4 };
/* Offsets in a workspace, and in a descriptor. */
enum { NEXT_JOB = 0, CHANNELS = 8, PROGRAM = 16, FULL_TILE = 56, LAST_TILE = 72, ZERO = 88, PROGRAMS = 96 };
enum { DESCRIPTOR_BYTES = 40, FLAGS = 12, DIMENSIONS = 16, LAST_OF_PROGRAM = 1, ENDS_TILE = 2 };
enum { HEADER_BYTES = 16, JOB_BYTES = 56, WORD_BYTES = 4, GRADIENT_BYTES = 8 };
enum { MU = 3, R = 4 }; /* words of a record */

static const double sqrt_1e_5 = 0.0031622776601683795;
static const float smallest = 1.17549435e-38f, largest = 3.40282347e38f; /* normal fp32 */

/* Little-endian words in memory. */

static void put32(volatile uint8_t *at, uint32_t value) {
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static void put64(volatile uint8_t *at, uint64_t value) {
    put32(at, (uint32_t)value);
    put32(at + 4, (uint32_t)(value >> 32));
}

static void put_float(volatile void *array, uint64_t index, float value) {
    union { float value; uint32_t code; } word;
    word.value = value;
    put32((volatile uint8_t *)array + WORD_BYTES * index, word.code);
}

static float get_float(const volatile void *array, uint64_t index) {
    const volatile uint8_t *at = (const volatile uint8_t *)array + WORD_BYTES * index;
    union { float value; uint32_t code; } word;
    word.code = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    return word.value;
}

static void flush(const struct bnforge *device, const volatile void *memory, size_t bytes) {
    if (device->flush)
        device->flush(device->context, memory, bytes);
}

/* Sizes. */

typedef uint32_t position_bytes(const struct bnforge *device, uint32_t channels); /* of one position of a tile */

static uint32_t operand_position(const struct bnforge *device, uint32_t channels) {
    return (channels * device->x_width + 7) / 8;
}

static uint32_t stored_position(const struct bnforge *device, uint32_t channels) {
    uint32_t bits = channels * device->element_width;
    if (device->group != 0)
        bits = (channels + device->group - 1) / device->group *
               (device->group * device->element_width + device->exponent_width);
    return (bits + 7) / 8;
}

static uint64_t divide_up(uint64_t a, uint64_t b) {
    return a / b + (a % b != 0);
}

static uint64_t times(uint64_t a, uint64_t b) { /* at most 2^64 - 1 */
    return a != 0 && b > UINT64_MAX / a ? UINT64_MAX : a * b;
}

static uint64_t area(const struct bnforge_shape *shape) {
    return (uint64_t)shape->height * shape->width;
}

static int is_empty(const struct bnforge_shape *shape) {
    return shape->images == 0 || shape->height == 0 || shape->width == 0 || shape->channels == 0;
}

static uint64_t all_tiles(const struct bnforge *device, const struct bnforge_shape *shape, position_bytes *position) {
    return (uint64_t)(shape->channels / device->lanes) * position(device, device->lanes) +
           position(device, shape->channels % device->lanes);
}

static uint64_t tensor_bytes(const struct bnforge *device, const struct bnforge_shape *shape,
                             position_bytes *position) {
    return times(times(area(shape), shape->images), all_tiles(device, shape, position));
}

uint64_t bnforge_operand_bytes(const struct bnforge *device, const struct bnforge_shape *shape) {
    return tensor_bytes(device, shape, operand_position);
}

uint64_t bnforge_stored_bytes(const struct bnforge *device, const struct bnforge_shape *shape) {
    return tensor_bytes(device, shape, stored_position);
}

uint64_t bnforge_record_bytes(const struct bnforge *device, uint32_t channels) {
    return (uint64_t)WORD_BYTES * device->record_words * channels;
}

uint64_t bnforge_gradient_bytes(uint32_t channels) {
    return (uint64_t)GRADIENT_BYTES * channels;
}

/* The parts of a tile in stream order, as docs/engine.md has them; the plan has none that is empty. */

struct part {
    uint64_t image, first, positions, repeats, images;
};

struct plan {
    const struct bnforge *device;
    const struct bnforge_work *work;
    enum bnforge_direction direction;
    uint64_t tiles, area, spacing, sample_len;
    uint32_t last_channels; /* of the last tile */
    unsigned n_parts;
    struct part parts[5];
};

static void add_part(struct plan *plan, uint64_t image, uint64_t first, uint64_t positions, uint64_t repeats,
                     uint64_t images) {
    const struct part part = {image, first, positions, repeats, images};
    if (positions != 0 && repeats != 0 && images != 0)
        plan->parts[plan->n_parts++] = part;
}

static uint64_t common_factor(uint64_t a, uint64_t b) {
    return b == 0 ? a : common_factor(b, a % b);
}

static void make_plan(struct plan *plan, const struct bnforge *device, const struct bnforge_work *work,
                      enum bnforge_direction direction) {
    const struct bnforge_shape *shape = &work->shape;
    uint64_t images = shape->images < device->sample_depth ? shape->images : device->sample_depth;
    uint64_t first, sampled, last, in_row;
    plan->device = device;
    plan->work = work;
    plan->direction = direction;
    plan->tiles = divide_up(shape->channels, device->lanes);
    plan->last_channels = (shape->channels - 1) % device->lanes + 1;
    plan->area = area(shape);
    plan->spacing = divide_up(plan->area, device->sample_depth / images);
    while (common_factor(plan->spacing, shape->width) > 1)
        plan->spacing++;
    first = plan->spacing / 2;
    sampled = divide_up(plan->area - first, plan->spacing);
    last = first + (sampled - 1) * plan->spacing;
    in_row = plan->spacing == 1 ? sampled : 1;
    plan->sample_len = images * sampled;
    plan->n_parts = 0;
    if (work->frozen) {
        add_part(plan, 0, 0, plan->area, 1, shape->images);
        return;
    }
    if (direction == BNFORGE_FORWARD)
        add_part(plan, 0, first, in_row, sampled / in_row, images);
    add_part(plan, 0, 0, first, 1, images);
    add_part(plan, 0, first + 1, plan->spacing - 1, sampled - 1, images);
    add_part(plan, 0, last + 1, plan->area - 1 - last, 1, images);
    add_part(plan, images, 0, plan->area, 1, shape->images - images);
    if (direction == BNFORGE_BACKWARD)
        add_part(plan, 0, first, in_row, sampled / in_row, images);
}

static uint64_t workspace_bytes(const struct plan *plan) {
    uint64_t per_tile = 3 + plan->n_parts * (plan->direction == BNFORGE_FORWARD ? 2u : 3u);
    uint64_t zeros = plan->direction == BNFORGE_FORWARD && plan->last_channels < plan->device->lanes;
    return PROGRAMS + DESCRIPTOR_BYTES * (per_tile * plan->tiles + zeros);
}

uint64_t bnforge_workspace_bytes(const struct bnforge *device, const struct bnforge_work *work,
                                 enum bnforge_direction direction) {
    struct plan plan;
    if (is_empty(&work->shape))
        return 0;
    make_plan(&plan, device, work, direction);
    return workspace_bytes(&plan);
}

/* C and eps. */

static double power(double base, uint64_t exponent) {
    double result = 1;
    for (; exponent != 0; exponent >>= 1) {
        if (exponent & 1)
            result *= base;
        base *= base;
    }
    return result;
}

/* d2(k) = 2*integral from 0 of 1 - Phi^k - (1 - Phi)^k, by the trapezoidal rule. Phi is the same rule over the density
 * with its first two corrections, -step^2/12*density' + step^4/720*density'''; the density is multiplied by a ratio
 * that shrinks as exp(-step^2). Exact to 1e-11 up to k = 4096. */
static double expected_range(uint64_t count) {
    const double step = 1.0 / 32, shrink = 0.99902391418197566;
    double density = 0.39894228040143268, ratio = 0.99951183793988937; /* 1/sqrt(2 pi), exp(-step^2/2) */
    double integral = 0.5, sum = 0.5 - power(0.5, count);
    for (int i = 1; i <= 320; i++) {
        double before = density, t = i * step, phi;
        density *= ratio;
        ratio *= shrink;
        integral += step / 2 * (before + density);
        phi = integral + step * step / 12 * t * density * (1 + step * step / 60 * (3 - t * t));
        sum += 1 - power(phi, count) - power(1 - phi, count);
    }
    return 2 * step * sum;
}

static void default_scale(const struct plan *plan, struct bnforge_scale *scale) {
    uint64_t length = plan->sample_len < plan->device->chunk_len ? plan->sample_len : plan->device->chunk_len;
    double c = 1 / expected_range(length < 2 ? 2 : length);
    scale->c = (float)c;
    scale->eps = (float)(sqrt_1e_5 / c);
}

int bnforge_default_scale(const struct bnforge *device, const struct bnforge_work *work, struct bnforge_scale *scale) {
    struct plan plan;
    if (is_empty(&work->shape))
        return BNFORGE_ERROR_SHAPE;
    make_plan(&plan, device, work, BNFORGE_FORWARD);
    default_scale(&plan, scale);
    return BNFORGE_OK;
}

/* What is wrong with some work. */

static int is_in_memory(const struct bnforge *device, uint64_t address, uint64_t bytes) {
    uint64_t top = UINT64_MAX >> (64 - device->address_width);
    return bytes != UINT64_MAX && address <= top && bytes - 1 <= top - address;
}

static int arrays_fit(const struct bnforge *device, const struct bnforge_work *work,
                      enum bnforge_direction direction) {
    uint64_t operand = bnforge_operand_bytes(device, &work->shape), stored = bnforge_stored_bytes(device, &work->shape);
    uint64_t words = (uint64_t)WORD_BYTES * work->shape.channels;
    if (!is_in_memory(device, work->y, stored) ||
        !is_in_memory(device, work->records, bnforge_record_bytes(device, work->shape.channels)))
        return 0;
    if (direction == BNFORGE_FORWARD)
        return is_in_memory(device, work->x, operand) && is_in_memory(device, work->gamma, words) &&
               is_in_memory(device, work->beta, words);
    return is_in_memory(device, work->dy, operand) && is_in_memory(device, work->dx, stored) &&
           is_in_memory(device, work->gradients, bnforge_gradient_bytes(work->shape.channels));
}

static int check(const struct bnforge *device, const struct bnforge_work *work, enum bnforge_direction direction) {
    const struct bnforge_scale *scale = work->scale;
    if ((direction != BNFORGE_FORWARD && direction != BNFORGE_BACKWARD) || work->shape.layout > BNFORGE_NHWC ||
        work->activation > BNFORGE_RELU6)
        return BNFORGE_ERROR_ARGUMENT;
    if (is_empty(&work->shape))
        return BNFORGE_ERROR_SHAPE;
    if (!(direction == BNFORGE_FORWARD ? device->has_forward : device->has_backward))
        return BNFORGE_ERROR_DIRECTION;
    if (work->activation == BNFORGE_IDENTITY && !device->is_signed)
        return BNFORGE_ERROR_IDENTITY;
    if (scale && !(scale->c >= smallest && scale->c <= largest))
        return BNFORGE_ERROR_SCALE;
    if (scale && !(scale->eps == 0 || (scale->eps >= smallest && scale->eps <= largest)))
        return BNFORGE_ERROR_SCALE;
    return arrays_fit(device, work, direction) ? BNFORGE_OK : BNFORGE_ERROR_ADDRESS;
}

/* Descriptors. The first error stays; what comes after it is written all the same. */

struct writer {
    const struct plan *plan;
    uint64_t workspace;
    volatile uint8_t *next;
    unsigned used; /* counts of the last descriptor */
    int error;
};

static void require(struct writer *writer, int condition, int error) {
    if (!condition && writer->error == BNFORGE_OK)
        writer->error = error;
}

static void put_row(struct writer *writer, uint64_t address, uint64_t length) {
    volatile uint8_t *at = writer->next;
    require(writer, length <= UINT32_MAX, BNFORGE_ERROR_LENGTH);
    put64(at, address);
    put32(at + 8, (uint32_t)length);
    put32(at + FLAGS, 0);
    for (unsigned i = DIMENSIONS; i < DESCRIPTOR_BYTES; i += 8)
        put64(at + i, 1);
    writer->next = at + DESCRIPTOR_BYTES;
    writer->used = 0;
}

static void repeat(struct writer *writer, uint64_t count, uint64_t stride) { /* modulo 2^64 */
    volatile uint8_t *at = writer->next - DESCRIPTOR_BYTES + DIMENSIONS + 8 * writer->used;
    if (count == 1)
        return;
    require(writer, count < 1u << 24, BNFORGE_ERROR_COUNT);
    require(writer, stride + 0x80000000u <= UINT32_MAX, BNFORGE_ERROR_STRIDE);
    put32(at, (uint32_t)count);
    put32(at + 4, (uint32_t)stride);
    writer->used++;
}

static void mark(struct writer *writer, unsigned flag) {
    volatile uint8_t *flags = writer->next - DESCRIPTOR_BYTES + FLAGS;
    *flags = (uint8_t)(*flags | flag);
}

static uint32_t tile_channels(const struct plan *plan, uint64_t tile) {
    return tile == plan->tiles - 1 ? plan->last_channels : plan->device->lanes;
}

/* A tile of a tensor; positions that do not touch, or are short beats, are rows of their own. */
static void put_tile(struct writer *writer, uint64_t base, uint64_t bytes, uint64_t stride, uint64_t image, int touch) {
    const struct plan *plan = writer->plan;
    for (const struct part *part = plan->parts; part < plan->parts + plan->n_parts; part++) {
        put_row(writer, base + part->image * image + part->first * stride, touch ? part->positions * bytes : bytes);
        if (!touch)
            repeat(writer, part->positions, stride);
        repeat(writer, part->repeats, plan->spacing * stride);
        repeat(writer, part->images, image);
    }
    mark(writer, ENDS_TILE);
}

static void put_tensor(struct writer *writer, uint64_t address, position_bytes *position) {
    const struct plan *plan = writer->plan;
    int nhwc = plan->work->shape.layout == BNFORGE_NHWC;
    uint64_t all = all_tiles(plan->device, &plan->work->shape, position);
    uint64_t full = position(plan->device, plan->device->lanes);
    for (uint64_t tile = 0; tile < plan->tiles; tile++) {
        uint64_t bytes = position(plan->device, tile_channels(plan, tile)), stride = nhwc ? all : bytes;
        put_tile(writer, address + tile * full * (nhwc ? 1 : plan->area), bytes, stride, plan->area * all,
                 bytes == stride && bytes == full);
    }
}

static void put_words(struct writer *writer, uint64_t address, uint64_t bytes) { /* of a channel */
    const struct plan *plan = writer->plan;
    for (uint64_t tile = 0; tile < plan->tiles; tile++) {
        put_row(writer, address + tile * plan->device->lanes * bytes, tile_channels(plan, tile) * bytes);
        mark(writer, ENDS_TILE);
    }
}

static void put_headers(struct writer *writer) {
    const struct plan *plan = writer->plan;
    const struct bnforge_work *work = plan->work;
    uint32_t lanes = plan->device->lanes;
    uint64_t bytes = bnforge_record_bytes(plan->device, 1);
    for (uint64_t tile = 0; tile < plan->tiles; tile++) {
        uint32_t channels = tile_channels(plan, tile);
        put_row(writer, writer->workspace + (tile == plan->tiles - 1 ? LAST_TILE : FULL_TILE), HEADER_BYTES);
        if (plan->direction == BNFORGE_BACKWARD) {
            put_row(writer, work->records + tile * lanes * bytes, channels * bytes);
        } else {
            put_row(writer, work->gamma + tile * lanes * WORD_BYTES, WORD_BYTES);
            repeat(writer, 2, work->beta - work->gamma);
            repeat(writer, channels, WORD_BYTES);
            if (channels < lanes) {
                put_row(writer, writer->workspace + ZERO, WORD_BYTES);
                repeat(writer, (uint64_t)2 * (lanes - channels), 0);
            }
        }
        mark(writer, ENDS_TILE);
    }
}

static void put_program(struct writer *writer, enum channel channel) {
    const struct bnforge_work *work = writer->plan->work;
    int forward = writer->plan->direction == BNFORGE_FORWARD;
    if (channel == HEADER)
        put_headers(writer);
    else if (channel == OPERAND)
        put_tensor(writer, forward ? work->x : work->dy, operand_position);
    else if (channel == STORED || (channel == RESULT && forward))
        put_tensor(writer, work->y, stored_position);
    else if (channel == RESULT)
        put_tensor(writer, work->dx, stored_position);
    else if (forward)
        put_words(writer, work->records, bnforge_record_bytes(writer->plan->device, 1));
    else
        put_words(writer, work->gradients, bnforge_gradient_bytes(1));
    mark(writer, LAST_OF_PROGRAM);
}

/* The fixed words of a tile header. */
static void put_fixed(volatile uint8_t *at, const struct plan *plan, const struct bnforge_scale *scale,
                      uint32_t channels) {
    uint32_t frozen = plan->work->frozen ? 1 : 0;
    put32(at, (uint32_t)plan->direction | plan->work->activation << 1 | frozen << 3 | (uint32_t)plan->sample_len << 16);
    put_float(at, 1, scale->c);
    put_float(at, 2, scale->eps);
    put32(at + 12, UINT32_MAX >> (32 - channels));
}

static int put_job(const struct plan *plan, const struct bnforge_scale *scale,
                   const struct bnforge_workspace *workspace) {
    volatile uint8_t *memory = (volatile uint8_t *)workspace->memory;
    struct writer writer = {plan, workspace->address, memory + PROGRAMS, 0, BNFORGE_OK};
    uint32_t channels = 0;
    for (unsigned i = 0; i < PROGRAMS; i += WORD_BYTES)
        put32(memory + i, 0);
    put_fixed(memory + FULL_TILE, plan, scale, plan->device->lanes);
    put_fixed(memory + LAST_TILE, plan, scale, plan->last_channels);
    for (int channel = HEADER; channel <= RECORD; channel++) {
        if (channel == STORED && plan->direction == BNFORGE_FORWARD)
            continue;
        channels |= 1u << channel;
        put64(memory + PROGRAM + 8 * channel, workspace->address + (uint64_t)(writer.next - memory));
        put_program(&writer, (enum channel)channel);
    }
    put32(memory + CHANNELS, channels);
    flush(plan->device, memory, (size_t)(writer.next - memory));
    return writer.error;
}

int bnforge_prepare(const struct bnforge *device, const struct bnforge_work *work, enum bnforge_direction direction,
                    const struct bnforge_workspace *workspace) {
    struct plan plan;
    struct bnforge_scale scale;
    int error = check(device, work, direction);
    if (error != BNFORGE_OK)
        return error;
    make_plan(&plan, device, work, direction);
    if (workspace->bytes < workspace_bytes(&plan))
        return BNFORGE_ERROR_WORKSPACE;
    if (workspace->address == 0 || !is_in_memory(device, workspace->address, workspace_bytes(&plan)))
        return BNFORGE_ERROR_ADDRESS;
    if (work->scale)
        scale = *work->scale;
    else
        default_scale(&plan, &scale);
    return put_job(&plan, &scale, workspace);
}

int bnforge_chain(const struct bnforge *device, const struct bnforge_workspace *workspace, uint64_t next) {
    if (!is_in_memory(device, next, JOB_BYTES))
        return BNFORGE_ERROR_ADDRESS;
    put64((volatile uint8_t *)workspace->memory + NEXT_JOB, next);
    flush(device, workspace->memory, JOB_BYTES);
    return BNFORGE_OK;
}

/* Registers. */

uint32_t bnforge_mmio_read32(void *context, uint32_t offset) {
    return ((volatile uint32_t *)context)[offset / 4];
}

void bnforge_mmio_write32(void *context, uint32_t offset, uint32_t value) {
    ((volatile uint32_t *)context)[offset / 4] = value;
}

static uint32_t get(const struct bnforge *device, uint32_t offset) {
    return device->read32(device->context, offset);
}

static uint64_t get64(const struct bnforge *device, uint32_t low) {
    uint64_t value = get(device, low);
    return value | (uint64_t)get(device, low + 4) << 32;
}

static void set(const struct bnforge *device, uint32_t offset, uint32_t value) {
    device->write32(device->context, offset, value);
}

int bnforge_open(struct bnforge *device) {
    uint32_t core, sample, formats, beats;
    if (get(device, BNFORGE_REG_ID) != BNFORGE_ID)
        return BNFORGE_ERROR_ID;
    device->version = get(device, BNFORGE_REG_VERSION);
    if (FIELD(device->version, VERSION_MAJOR) != BNFORGE_MAJOR)
        return BNFORGE_ERROR_VERSION;
    core = get(device, BNFORGE_REG_CORE);
    sample = get(device, BNFORGE_REG_SAMPLE);
    formats = get(device, BNFORGE_REG_FORMATS);
    beats = get(device, BNFORGE_REG_BEATS);
    device->lanes = FIELD(core, CORE_LANES);
    device->has_forward = FIELD(core, CORE_FORWARD);
    device->has_backward = FIELD(core, CORE_BACKWARD);
    device->is_signed = FIELD(core, CORE_SIGNED);
    device->sample_depth = FIELD(sample, SAMPLE_DEPTH);
    device->chunk_len = 1u << FIELD(sample, SAMPLE_CHUNK_LOG2);
    device->x_width = 1 + FIELD(formats, FORMATS_X_EXPONENT) + FIELD(formats, FORMATS_X_FRACTION);
    device->element_width = FIELD(formats, FORMATS_ELEMENT);
    device->exponent_width = FIELD(formats, FORMATS_EXPONENT);
    device->group = FIELD(formats, FORMATS_GROUP);
    device->record_words = FIELD(beats, BEATS_RECORD_WORDS);
    device->address_width = FIELD(get(device, BNFORGE_REG_BUS), BUS_ADDRESS_WIDTH);
    if (device->lanes - 1 > 31 || device->sample_depth == 0 || device->address_width - 32 > 32 ||
        operand_position(device, device->lanes) != FIELD(beats, BEATS_OPERAND_BYTES) ||
        stored_position(device, device->lanes) != FIELD(beats, BEATS_STORED_BYTES))
        return BNFORGE_ERROR_BUILD;
    return BNFORGE_OK;
}

int bnforge_start(const struct bnforge *device, uint64_t job) {
    uint32_t events = BNFORGE_IRQ_ENABLE_DONE_MASK | BNFORGE_IRQ_ENABLE_ERROR_MASK;
    if (job == 0 || !is_in_memory(device, job, JOB_BYTES))
        return BNFORGE_ERROR_ADDRESS;
    if (get(device, BNFORGE_REG_STATUS) & (BNFORGE_STATUS_BUSY_MASK | BNFORGE_STATUS_DRAINING_MASK))
        return BNFORGE_ERROR_BUSY;
    set(device, BNFORGE_REG_IRQ_ENABLE, device->wait ? events : 0);
    set(device, BNFORGE_REG_JOB0, (uint32_t)job);
    set(device, BNFORGE_REG_JOB1, (uint32_t)(job >> 32));
    set(device, BNFORGE_REG_JOB2, 0);
    set(device, BNFORGE_REG_JOB3, 0);
    set(device, BNFORGE_REG_CONTROL, BNFORGE_CONTROL_START_MASK);
    return BNFORGE_OK;
}

/* Look at STATUS until one of some bits is set, or until none is. */
static int poll(const struct bnforge *device, uint32_t bits, int is_set, uint32_t limit) {
    for (uint32_t looks = 1; ((get(device, BNFORGE_REG_STATUS) & bits) != 0) != is_set; looks++) {
        if (limit != 0 && looks == limit)
            return BNFORGE_ERROR_TIMEOUT;
        if (is_set && device->wait)
            device->wait(device->context);
    }
    return BNFORGE_OK;
}

int bnforge_wait(const struct bnforge *device, uint32_t limit) {
    int error = poll(device, BNFORGE_STATUS_DONE_MASK | BNFORGE_STATUS_ERROR_MASK, 1, limit);
    if (error != BNFORGE_OK || FIELD(get(device, BNFORGE_REG_CAUSE), CAUSE_CODE) == BNFORGE_CAUSE_BUS_TIMEOUT)
        return error;
    return poll(device, BNFORGE_STATUS_BUSY_MASK | BNFORGE_STATUS_DRAINING_MASK, 0, limit);
}

int bnforge_finish(const struct bnforge *device, struct bnforge_result *result) {
    uint32_t cause, ended = BNFORGE_STATUS_DONE_MASK | BNFORGE_STATUS_ERROR_MASK;
    result->status = get(device, BNFORGE_REG_STATUS);
    if (!(result->status & ended))
        return BNFORGE_ERROR_BUSY;
    cause = get(device, BNFORGE_REG_CAUSE);
    result->cause = FIELD(cause, CAUSE_CODE);
    result->channel = FIELD(cause, CAUSE_CHANNEL);
    result->error_address = get64(device, BNFORGE_REG_ERROR_ADDRESS_LOW);
    result->cycles = get64(device, BNFORGE_REG_CYCLES_LOW);
    result->bytes_read = get64(device, BNFORGE_REG_BYTES_READ_LOW);
    result->bytes_written = get64(device, BNFORGE_REG_BYTES_WRITTEN_LOW);
    result->read_wait = get(device, BNFORGE_REG_READ_WAIT);
    result->write_wait = get(device, BNFORGE_REG_WRITE_WAIT);
    result->input_beats = get(device, BNFORGE_REG_INPUT_BEATS);
    result->input_stalls = get(device, BNFORGE_REG_INPUT_STALLS);
    result->output_beats = get(device, BNFORGE_REG_OUTPUT_BEATS);
    result->output_stalls = get(device, BNFORGE_REG_OUTPUT_STALLS);
    result->jobs = get(device, BNFORGE_REG_JOBS);
    result->result_tiles = get(device, BNFORGE_REG_RESULT_TILES);
    result->record_tiles = get(device, BNFORGE_REG_RECORD_TILES);
    set(device, BNFORGE_REG_STATUS, result->status);
    return result->status & BNFORGE_STATUS_ERROR_MASK ? BNFORGE_ERROR_ENGINE : BNFORGE_OK;
}

void bnforge_abort(const struct bnforge *device) {
    set(device, BNFORGE_REG_CONTROL, BNFORGE_CONTROL_ABORT_MASK);
}

int bnforge_reset(const struct bnforge *device, uint32_t limit) {
    set(device, BNFORGE_REG_CONTROL, BNFORGE_CONTROL_RESET_MASK);
    return poll(device, BNFORGE_STATUS_BUSY_MASK | BNFORGE_STATUS_DRAINING_MASK, 0, limit);
}

static int run(const struct bnforge *device, const struct bnforge_work *work, enum bnforge_direction direction,
               const struct bnforge_workspace *workspace, uint32_t limit, struct bnforge_result *result) {
    int error = bnforge_prepare(device, work, direction, workspace);
    if (error == BNFORGE_OK)
        error = bnforge_start(device, workspace->address);
    if (error == BNFORGE_OK)
        error = bnforge_wait(device, limit);
    return error == BNFORGE_OK ? bnforge_finish(device, result) : error;
}

int bnforge_forward(const struct bnforge *device, const struct bnforge_work *work,
                    const struct bnforge_workspace *workspace, uint32_t limit, struct bnforge_result *result) {
    return run(device, work, BNFORGE_FORWARD, workspace, limit, result);
}

int bnforge_backward(const struct bnforge *device, const struct bnforge_work *work,
                     const struct bnforge_workspace *workspace, uint32_t limit, struct bnforge_result *result) {
    return run(device, work, BNFORGE_BACKWARD, workspace, limit, result);
}

/* Running statistics. */

void bnforge_update_running(const struct bnforge *device, const volatile void *records, uint32_t channels, float c,
                            float momentum, float *mean, float *var) {
    for (uint32_t i = 0; i < channels; i++) {
        uint64_t record = (uint64_t)device->record_words * i;
        double mu = get_float(records, record + MU), deviation = (double)c * get_float(records, record + R);
        mean[i] = (float)(mean[i] + momentum * (mu - mean[i]));
        var[i] = (float)(var[i] + momentum * (deviation * deviation - var[i]));
    }
}

/* Of an fp32 value at least 0, by Newton's rule from above; of 0, less than 1e-150. */
static double square_root(double value) {
    double root = 1;
    while (root * root < value)
        root *= 2;
    while (root * root > 4 * value)
        root /= 2;
    for (int i = 0; i < 6; i++)
        root = (root + value / root) / 2;
    return root;
}

int bnforge_fold(uint32_t channels, const volatile void *gamma, const volatile void *beta, const float *mean,
                 const float *var, volatile void *a, volatile void *b) {
    for (uint32_t i = 0; i < channels; i++)
        if (!(var[i] >= 0 && var[i] <= largest))
            return BNFORGE_ERROR_VALUE;
    for (uint32_t i = 0; i < channels; i++) {
        double scale = get_float(gamma, i) / (square_root(var[i]) + sqrt_1e_5);
        double shift = get_float(beta, i) - mean[i] * scale;
        put_float(a, i, (float)scale);
        put_float(b, i, (float)shift);
    }
    return BNFORGE_OK;
}
