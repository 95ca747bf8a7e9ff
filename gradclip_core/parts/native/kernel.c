/* Norms, scaling and clamping of gradients: one read, or one read and write, of the memory.

   A tensor is `rows[i]` rows of `cols[i]` elements, one after the other in memory; a tensor as a
   whole is one row. Short sums in the type of the elements, float at least, are added up in
   double; those that leave the range of their type are taken again.

   Built by build.py with whatever C compiler there is; `CLONES` lets the loader choose the code
   for the processor it runs on. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "types.h"

#ifndef CLONES
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

enum { MAXIMUM, SUM, SQUARES };
#define SHORT(W) (sizeof(W) == 8 ? 4096 : 256) /* elements of a short sum: errors below 1e-6 */
#define BLOCK 4096       /* elements measured, and then clamped while they are in the cache */
#define PARALLEL 1000000 /* elements from which threads pay */
#define MOST_THREADS 64

INLINE uint32_t bits_of(float x) { uint32_t b; memcpy(&b, &x, 4); return b; }
INLINE float float_of(uint32_t b) { float x; memcpy(&x, &b, 4); return x; }

/* Half precision by arithmetic alone (M. Dukhan's FP16): vectorised without F16C. */
INLINE float wide_half(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
    float x = float_of(magnitude) * 0x1.0p112f;
    uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;
    return float_of(sign | special | bits_of(x));
}
INLINE uint16_t narrow_half(float x) {
    uint32_t w = bits_of(x), twice = w + w, bias = twice & 0xff000000u;
    bias = bias < 0x71000000u ? 0x71000000u : bias;
    float base = (fabsf(x) * 0x1.0p112f) * 0x1.0p-110f;
    uint32_t b = bits_of(float_of((bias >> 1) + 0x07800000u) + base);
    uint32_t magnitude = ((b >> 13) & 0x7c00u) + (b & 0x0fffu);
    return (uint16_t)(((w & 0x80000000u) >> 16) | (twice > 0xff000000u ? 0x7e00u : magnitude));
}
INLINE float wide_bfloat(uint16_t h) { return float_of((uint32_t)h << 16); }
INLINE uint16_t narrow_bfloat(float x) {
    uint32_t b = bits_of(x), rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    return (uint16_t)((b & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
INLINE float same_float(float x) { return x; }
INLINE double same_double(double x) { return x; }

#define MIN(S) ((S)((S)1 << (8 * sizeof(S) - 1))) /* the bit of the sign */

/* One set of loops for each type: T as stored, W for arithmetic, S its bits.
   The largest magnitude is found among the bits, where NaN stands above infinity. Four sums at a
   time hide the latency of the addition; each takes in so few elements that float is enough for
   it. A short sum at the edge of the range of float is taken again in double. */
#define LOOPS(NAME, T, W, S, ABS, WIDE, NARROW)                                               \
    CLONES static double NAME##_peak(const void *data, int64_t n) {                           \
        const S *x = data, most = (S)~MIN(S);                                                 \
        S peak = 0;                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                     \
            S magnitude = x[i] & most;                                                        \
            peak = magnitude > peak ? magnitude : peak;                                       \
        }                                                                                     \
        T found;                                                                              \
        memcpy(&found, &peak, sizeof found);                                                  \
        return WIDE(found);                                                                   \
    }                                                                                         \
    CLONES static double NAME##_sum(const void *data, int64_t n) {                            \
        const T *x = data;                                                                    \
        double total = 0;                                                                     \
        for (; n > 0; x += SHORT(W), n -= SHORT(W)) {                                         \
            W a = 0, b = 0, c = 0, d = 0;                                                     \
            int64_t m = n < SHORT(W) ? n : SHORT(W), q = m / 4;                                     \
            for (int64_t i = 0; i < q; i++) {                                                 \
                a += ABS(WIDE(x[i])), b += ABS(WIDE(x[i + q]));                               \
                c += ABS(WIDE(x[i + 2 * q])), d += ABS(WIDE(x[i + 3 * q]));                   \
            }                                                                                 \
            for (int64_t i = 4 * q; i < m; i++) a += ABS(WIDE(x[i]));                         \
            double part = ((double)a + b) + ((double)c + d);                                  \
            if (!(part < 1e37))                                                               \
                for (int64_t i = part = 0; i < m; i++) part += fabs((double)WIDE(x[i]));      \
            total += part;                                                                    \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    CLONES static double NAME##_squares(const void *data, int64_t n) {                        \
        const T *x = data;                                                                    \
        double total = 0;                                                                     \
        for (; n > 0; x += SHORT(W), n -= SHORT(W)) {                                         \
            W a = 0, b = 0, c = 0, d = 0;                                                     \
            int64_t m = n < SHORT(W) ? n : SHORT(W), q = m / 4;                                     \
            for (int64_t i = 0; i < q; i++) {                                                 \
                W e = WIDE(x[i]), f = WIDE(x[i + q]);                                         \
                W g = WIDE(x[i + 2 * q]), h = WIDE(x[i + 3 * q]);                             \
                a += e * e, b += f * f, c += g * g, d += h * h;                               \
            }                                                                                 \
            for (int64_t i = 4 * q; i < m; i++) a += WIDE(x[i]) * WIDE(x[i]);                 \
            double part = ((double)a + b) + ((double)c + d);                                  \
            if (!(part > 1e-25 && part < 1e37))                                               \
                for (int64_t i = part = 0; i < m; i++)                                        \
                    part += (double)WIDE(x[i]) * (double)WIDE(x[i]);                          \
            total += part;                                                                    \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    CLONES static void NAME##_scale(void *data, int64_t n, double factor) {                   \
        T *x = data;                                                                          \
        W f = (W)factor;                                                                      \
        for (int64_t i = 0; i < n; i++) x[i] = NARROW(WIDE(x[i]) * f);                        \
    }                                                                                         \
    CLONES static double NAME##_clamp(void *data, int64_t n, double bound) {                  \
        S *x = data, limit, infinite, peak = 0;                                               \
        T b = NARROW((W)bound), i = NARROW((W)INFINITY);                                      \
        memcpy(&limit, &b, sizeof b), memcpy(&infinite, &i, sizeof i);                        \
        for (int64_t k = 0; k < n; k++) {                                                     \
            S sign = x[k] & MIN(S), magnitude = x[k] & (S)~MIN(S);                            \
            S kept = magnitude > limit ? limit : magnitude;                                   \
            peak = magnitude > peak ? magnitude : peak;                                       \
            x[k] = sign | (magnitude >= infinite ? magnitude : kept);                         \
        }                                                                                     \
        memcpy(&b, &peak, sizeof b);                                                          \
        return WIDE(b);                                                                       \
    }

LOOPS(float, float, float, int32_t, fabsf, same_float, same_float)
LOOPS(double, double, double, int64_t, fabs, same_double, same_double)
LOOPS(half, uint16_t, float, int16_t, fabsf, wide_half, narrow_half)
LOOPS(bfloat, uint16_t, float, int16_t, fabsf, wide_bfloat, narrow_bfloat)

typedef struct {
    int64_t size;
    double (*peak)(const void *, int64_t), (*sum)(const void *, int64_t);
    double (*squares)(const void *, int64_t), (*clamp)(void *, int64_t, double);
    void (*scale)(void *, int64_t, double);
} Type;
#define TYPE(NAME, SIZE) {SIZE, NAME##_peak, NAME##_sum, NAME##_squares, NAME##_clamp, NAME##_scale}
static const Type TYPES[] = {TYPE(float, 4), TYPE(double, 8), TYPE(half, 2), TYPE(bfloat, 2)};

/* One pass over all tensors, or one thread's share of it: the elements `from` to `to`. */
typedef struct Pass Pass;
struct Pass {
    const Type *type;
    int64_t tensors;
    char *const *data;
    const int64_t *rows, *cols;
    int order;             /* of the norm */
    const double *values;  /* a factor or bound for each row, or one for all */
    int each;              /* whether there is one for each row */
    double *out;           /* a number for each row */
    int64_t out_rows;      /* of which there are so many */
    int64_t from, to;
    void (*run)(const Pass *, char *x, int64_t n, int64_t row);
};

static double larger(double a, double b) { return isnan(a) || a > b ? a : b; }

static void take(const Pass *pass, int64_t row, double found) {
    double *out = pass->out + row;
    *out = pass->order == MAXIMUM ? larger(found, *out) : *out + found;
}

static void measure_run(const Pass *pass, char *x, int64_t n, int64_t row) {
    const Type *type = pass->type;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        const void *block = x + i * type->size;
        if (pass->order == MAXIMUM) take(pass, row, type->peak(block, m));
        else take(pass, row, pass->order == SUM ? type->sum(block, m) : type->squares(block, m));
    }
}

static void scale_run(const Pass *pass, char *x, int64_t n, int64_t row) {
    double factor = pass->values[pass->each ? row : 0];
    if (factor != 1.0) pass->type->scale(x, n, factor);
}

/* Measures each block and clamps it only where it has to be, while it is in the cache; after one
   that had to be, measures and clamps at once. NaN and inf stay. */
static void clamp_run(const Pass *pass, char *x, int64_t n, int64_t row) {
    const Type *type = pass->type;
    double bound = pass->values[pass->each ? row : 0], peak = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        char *block = x + i * type->size;
        if (peak > bound) {
            peak = type->clamp(block, m, bound);
        } else {
            peak = type->peak(block, m);
            if (peak > bound) type->clamp(block, m, bound);
        }
        take(pass, row, peak);
    }
}

/* The last tensor first: after a pass in the usual order it is the one still in the cache. */
static void *run(void *argument) {
    const Pass *pass = argument;
    int64_t row = 0, before = 0;
    for (int64_t i = 0; i < pass->tensors; i++)
        row += pass->rows[i], before += pass->rows[i] * pass->cols[i];
    for (int64_t i = pass->tensors - 1; i >= 0; i--) {
        int64_t cols = pass->cols[i], end = before;
        /* Small tensors lie anywhere: the next one is fetched meanwhile. */
        for (int64_t at = 0; i && at < 512 && at < pass->rows[i - 1] * pass->cols[i - 1]; at += 16)
            __builtin_prefetch(pass->data[i - 1] + at * pass->type->size);
        row -= pass->rows[i], before -= pass->rows[i] * cols;
        if (before >= pass->to || end <= pass->from) continue;
        for (int64_t r = 0; r < pass->rows[i]; r++) {
            int64_t start = before + r * cols, from = start, to = start + cols;
            from = from < pass->from ? pass->from : from;
            to = to > pass->to ? pass->to : to;
            if (from >= to) continue;
            char *x = pass->data[i] + (from - before) * pass->type->size;
            pass->run(pass, x, to - from, row + r);
        }
    }
    return NULL;
}

/* Runs a pass on several threads, each with numbers of its own for the rows. */
static void divide(Pass *whole, int64_t rows, int64_t elements, int threads) {
    Pass shares[MOST_THREADS];
    pthread_t ids[MOST_THREADS];
    int started[MOST_THREADS] = {0};
    threads = threads > MOST_THREADS ? MOST_THREADS : threads;
    int64_t length = elements / threads + 1;
    double *outs = whole->out ? calloc((size_t)(rows * threads), sizeof(double)) : NULL;
    if (whole->out && !outs) {
        run(whole);
        return;
    }
    for (int t = 0; t < threads; t++) {
        shares[t] = *whole;
        shares[t].from = t * length, shares[t].to = (t + 1) * length;
        if (outs) shares[t].out = outs + t * rows;
        if (t) started[t] = pthread_create(&ids[t], NULL, run, &shares[t]) == 0;
    }
    run(&shares[0]);
    for (int t = 1; t < threads; t++) {
        if (started[t]) pthread_join(ids[t], NULL);
        else run(&shares[t]);
    }
    for (int t = 0; outs && t < threads; t++)
        for (int64_t row = 0; row < rows; row++) take(whole, row, outs[t * rows + row]);
    free(outs);
}

static void execute(Pass *pass, int threads) {
    int64_t rows = 0, elements = 0;
    for (int64_t i = 0; i < pass->tensors; i++)
        rows += pass->rows[i], elements += pass->rows[i] * pass->cols[i];
    pass->to = elements, pass->out_rows = rows;
    if (pass->out) memset(pass->out, 0, (size_t)rows * sizeof(double));
    if (threads > 1 && elements >= PARALLEL) divide(pass, rows, elements, threads);
    else run(pass);
}

/* Sums whose powers left the range of double are taken again, relative to the largest element. */
static double rescaled(const double *x, int64_t n, int order) {
    double peak = double_peak(x, n), sum = 0;
    if (peak == 0 || !isfinite(peak)) return peak;
    for (int64_t i = 0; i < n; i++) {
        double ratio = fabs(x[i]) / peak;
        sum += order == SQUARES ? ratio * ratio : ratio;
    }
    return peak * (order == SQUARES ? sqrt(sum) : sum);
}

/* The norm of a vector of norms, which is that of all they were taken of. */
static double total(const double *norms, int64_t n, int order) {
    return order == MAXIMUM ? double_peak(norms, n) : rescaled(norms, n, order);
}

/* The norm of each row into `out`, of order infinity, 1 or 2 (0, 1, 2); returns that of all. */
double gradclip_measure(int64_t tensors, char *const *data, const int64_t *rows, const int64_t *cols,
                      int type, int order, int threads, double *out) {
    Pass pass = {.type = &TYPES[type], .tensors = tensors, .data = data, .rows = rows,
                 .cols = cols, .order = order, .out = out, .run = measure_run};
    execute(&pass, threads);
    int64_t row = 0;
    for (int64_t i = 0; i < tensors; i++) {
        for (int64_t r = 0; r < rows[i] && order != MAXIMUM; r++, row++) {
            int regular = type != DOUBLE || (out[row] > 1e-280 && isfinite(out[row]));
            if (!regular) out[row] = rescaled((const double *)data[i] + r * cols[i], cols[i], order);
            else if (order == SQUARES) out[row] = sqrt(out[row]);
        }
    }
    return total(out, pass.out_rows, order);
}

/* Multiplies each row by its factor, or all by one; rows with the factor 1 are not written. */
void gradclip_scale(int64_t tensors, char *const *data, const int64_t *rows, const int64_t *cols,
                    int type, int each, int threads, const double *factors) {
    Pass pass = {.type = &TYPES[type], .tensors = tensors, .data = data, .rows = rows,
                 .cols = cols, .values = factors, .each = each, .run = scale_run};
    execute(&pass, threads);
}

/* Bounds the magnitudes in each row by its bound, or all by one; the largest that each row had
   into `out`. Returns the largest of all. */
double gradclip_clamp(int64_t tensors, char *const *data, const int64_t *rows, const int64_t *cols,
                    int type, int each, int threads, const double *bounds, double *out) {
    Pass pass = {.type = &TYPES[type], .tensors = tensors, .data = data, .rows = rows,
                 .cols = cols, .values = bounds, .each = each, .out = out, .run = clamp_run};
    execute(&pass, threads);
    return total(out, pass.out_rows, MAXIMUM);
}

/* The factor limit / (norm + eps) of each norm over its limit (or over one for all), 1 elsewhere.
   Returns how many are over. */
int64_t gradclip_factors(int64_t n, const double *norms, const double *limits, int each, double eps,
                         double *factors) {
    int64_t over = 0;
    for (int64_t i = 0; i < n; i++) {
        double limit = limits[each ? i : 0];
        int within = norms[i] <= limit;
        factors[i] = within ? 1.0 : limit / (norms[i] + eps);
        over += !within;
    }
    return over;
}
